// SPDX-License-Identifier: Apache-2.0

/// Writes one JSON value (RFC 8259) as UTF-8, without blanks. Commas are its own affair; the caller pairs begin and end.
public struct JSONWriter {
    /// What was written, in UTF-8.
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false

    /// Nothing is written yet.
    public init() {}

    /// What was written, as text.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Writes `{`, what `body` writes, `}`.
    public mutating func object(_ body: (inout JSONWriter) -> Void) { enclosed("{", "}", body) }

    /// Writes `[`, what `body` writes, `]`.
    public mutating func array(_ body: (inout JSONWriter) -> Void) { enclosed("[", "]", body) }

    /// The name of the next value; inside an object, before each value.
    public mutating func key(_ name: String) {
        string(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    /// A string, escaped as it needs to be.
    public mutating func string(_ value: some StringProtocol) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        for scalar in value.unicodeScalars { append(escaped: scalar) }
        bytes.append(UInt8(ascii: "\""))
    }

    /// A whole number of any width.
    public mutating func integer(_ value: some FixedWidthInteger) { raw(value.description) }
    /// `true` or `false`.
    public mutating func boolean(_ value: Bool) { raw(value ? "true" : "false") }
    /// `null`.
    public mutating func null() { raw("null") }

    /// JSON has no infinity and no NaN (RFC 8259, 6): they become null.
    public mutating func number(_ value: Double) { raw(value.isFinite ? value.description : "null") }

    /// A key with its string.
    public mutating func field(_ name: String, _ value: String) {
        key(name)
        string(value)
    }
    /// Leaves the field out where `value` is nil.
    public mutating func field(_ name: String, _ value: String?) {
        if let value { field(name, value) }
    }
    /// A key with its whole number.
    public mutating func field(_ name: String, _ value: some FixedWidthInteger) {
        key(name)
        integer(value)
    }
    /// A key with its truth value.
    public mutating func field(_ name: String, _ value: Bool) {
        key(name)
        boolean(value)
    }
    /// A key with its number; null where it is not finite.
    public mutating func field(_ name: String, _ value: Double) {
        key(name)
        number(value)
    }

    private mutating func enclosed(_ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONWriter) -> Void)
    {
        separate()
        bytes.append(UInt8(ascii: open))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: close))
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func raw(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    /// What JSON wants escaped (RFC 8259, 7), and what terminals, editors and JavaScript would take for more than a letter.
    private mutating func append(escaped scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": bytes.append(contentsOf: #"\""#.utf8)
        case "\\": bytes.append(contentsOf: #"\\"#.utf8)
        case "\n": bytes.append(contentsOf: #"\n"#.utf8)
        case "\r": bytes.append(contentsOf: #"\r"#.utf8)
        case "\t": bytes.append(contentsOf: #"\t"#.utf8)
        case _ where scalar.isUnprintable: for unit in UTF16.encode(scalar) ?? .init() { append(escape: unit) }
        default: bytes.append(contentsOf: UTF8.encode(scalar) ?? .init())
        }
    }

    private mutating func append(escape unit: UInt16) {
        bytes.append(contentsOf: #"\u"#.utf8)
        for shift in [12, 8, 4, 0] as [UInt16] { bytes.append(hexDigit(UInt8(truncatingIfNeeded: unit >> shift) & 15)) }
    }
}

func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
}

extension Unicode.Scalar {
    /// Whether it would move the cursor, break the line, or turn the direction of the text around.
    var isUnprintable: Bool {
        if isASCII { return value < 0x20 || value == 0x7F }
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: return true
        default: return false
        }
    }
}
