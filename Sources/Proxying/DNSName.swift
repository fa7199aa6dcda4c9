// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// A domain name (RFC 1035, 3.1), with its letters' case as it was written. Two that differ in case only are the same name
/// (RFC 4343) and not equal here: compare their ``text``.
public struct DNSName: Hashable, Sendable {
    /// Each label behind its length, and the root's 0: 255 octets at most.
    public let wire: [UInt8]

    /// Nil for what is no name: an empty label, a label of more than 63 octets, more than 255 in all.
    /// - Parameter text: labels between dots, with or without the root's dot at the end. Taken as it is: `\` means itself.
    public init?(_ text: String) {
        let trimmed = text.hasSuffix(".") ? text.dropLast() : text[...]
        var wire: [UInt8] = []
        for label in trimmed.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard (1...Int(DNS.longestLabel)).contains(label.count) else { return nil }
            wire.append(UInt8(truncatingIfNeeded: label.count))
            wire.append(contentsOf: label)
        }
        wire.append(0)
        guard wire.count <= DNS.longestName else { return nil }
        self.wire = wire
    }

    /// Reads a name that is written out in full, as the first one of a message is: there is nothing before it that a
    /// pointer could mean.
    init(_ reader: inout ByteReader) throws(Truncated) {
        var wire: [UInt8] = []
        while true {
            let length = try reader.readUInt8()
            // A pointer, or one of the kinds of label that nobody uses (RFC 6891, 5).
            guard length <= DNS.longestLabel else { throw Truncated() }
            wire.append(length)
            if length == 0 { break }
            wire.append(contentsOf: try reader.readBytes(Int(length)))
            guard wire.count < DNS.longestName else { throw Truncated() }
        }
        self.wire = wire
    }

    /// The labels in small letters with dots between them, without one at the end; nil where an octet is neither a letter,
    /// a digit, a hyphen nor an underscore: such a name is no host's.
    public var text: String? {
        var text = ""
        var index = 0
        while wire[index] != 0 {
            let end = index + 1 + Int(wire[index])
            if !text.isEmpty { text += "." }
            for octet in wire[index + 1..<end] {
                guard let letter = DNSName.small(octet) else { return nil }
                text.unicodeScalars.append(letter)
            }
            index = end
        }
        return text
    }

    /// Whether this is that name, or one below it.
    public func isWithin(_ zone: DNSName) -> Bool { offset(of: zone) != nil }

    /// Where in this name's octets the other begins that it ends with; nil where it does not.
    func offset(of zone: DNSName) -> Int? {
        var index = 0
        while wire.count - index > zone.wire.count { index += 1 + Int(wire[index]) }
        return DNSName.areSame(wire[index...], zone.wire[...]) ? index : nil
    }

    /// Skips a name in whatever form, which may end with a pointer.
    static func skip(_ reader: inout ByteReader) throws(Truncated) {
        while true {
            let length = try reader.readUInt8()
            if length == 0 { return }
            if length >= UInt8(DNS.pointer >> 8) {
                _ = try reader.readUInt8()
                return
            }
            guard length <= DNS.longestLabel else { throw Truncated() }
            _ = try reader.readBytes(Int(length))
        }
    }

    /// RFC 4343, 3: letters are compared without their case. A length is no letter, being 63 at most.
    static func areSame(_ one: ArraySlice<UInt8>, _ other: ArraySlice<UInt8>) -> Bool {
        one.count == other.count && zip(one, other).allSatisfy { lowered($0) == lowered($1) }
    }

    private static func lowered(_ octet: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(octet) ? octet | 0x20 : octet
    }

    private static func small(_ octet: UInt8) -> Unicode.Scalar? {
        let octet = lowered(octet)
        switch octet {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            return Unicode.Scalar(octet)
        default: return nil
        }
    }
}
