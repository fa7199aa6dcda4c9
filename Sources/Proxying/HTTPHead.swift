// SPDX-License-Identifier: Apache-2.0

/// Why bytes are no head of an HTTP message, in words.
struct HTTPFault: Error, Equatable {
    let text: String
}

/// The head of an HTTP/1.1 message: its first line and its fields (RFC 9112, 2.1).
struct HTTPHead: Sendable {
    let startLine: String
    /// Names in lower case, values without the white space around them, in the order of the message.
    let fields: [(name: String, value: String)]

    /// - Parameter bytes: all of the head, with the empty line at its end.
    init(_ bytes: ArraySlice<UInt8>) throws(HTTPFault) {
        var lines = HTTPHead.lines(bytes)[...]
        // RFC 9112, 2.2: empty lines before the first are ignored.
        lines = lines.drop(while: \.isEmpty)
        for line in lines where !line.allSatisfy(HTTPHead.isText) {
            throw HTTPFault(text: "there is a control character in the head")
        }
        guard let first = lines.popFirst() else { throw HTTPFault(text: "the head is empty") }
        startLine = String(decoding: first, as: UTF8.self)
        var fields: [(name: String, value: String)] = []
        for line in lines where !line.isEmpty { fields.append(try HTTPHead.field(line)) }
        self.fields = fields
    }

    /// The values of all fields of that name.
    /// - Parameter name: in lower case.
    func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

    /// RFC 9112, 2.2: a line ends with CRLF, and may be taken to end with LF alone. A CR anywhere else stays in the line,
    /// where it is refused.
    private static func lines(_ bytes: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        bytes.split(separator: .lineFeed, omittingEmptySubsequences: false).map { line in
            line.last == .carriageReturn ? line.dropLast() : line
        }
    }

    /// RFC 9110, 5.5: no control character but the tab.
    private static func isText(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F || byte == .tab }

    /// RFC 9112, 5: name, colon, value. No white space before the colon (5.1), no value folded over lines (5.2).
    private static func field(_ line: ArraySlice<UInt8>) throws(HTTPFault) -> (name: String, value: String) {
        guard line.first != .space, line.first != .tab else { throw HTTPFault(text: "a field is folded over lines") }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            throw HTTPFault(text: "a field has no colon")
        }
        let name = line[..<colon]
        guard isToken(name) else { throw HTTPFault(text: "a field's name is no token") }
        let value = line[(colon + 1)...].drop { $0 == .space || $0 == .tab }
        let kept = value.reversed().drop { $0 == .space || $0 == .tab }.reversed()
        return (String(decoding: name, as: UTF8.self).lowercased(), String(decoding: Array(kept), as: UTF8.self))
    }

    /// RFC 9110, 5.6.2.
    static func isToken(_ bytes: some Collection<UInt8>) -> Bool {
        !bytes.isEmpty
            && bytes.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }
}

/// Looks for the end of a head in bytes that come in parts, each byte once.
struct HTTPHeadScanner: Sendable {
    private var position = 0
    private var lineStart = 0
    /// Whether a line that is not empty has been seen: before it empty lines are no end.
    private(set) var hasStarted = false

    /// How many bytes the head at the beginning takes; nil where it has no end within the bytes or the bound.
    mutating func end(in bytes: [UInt8], bound: Int) -> Int? {
        let limit = min(bytes.count, bound)
        while position < limit {
            defer { position += 1 }
            guard bytes[position] == .lineFeed else { continue }
            let length = position - lineStart
            let isEmpty = length == 0 || length == 1 && bytes[lineStart] == .carriageReturn
            if isEmpty && hasStarted { return position + 1 }
            if !isEmpty { hasStarted = true }
            lineStart = position + 1
        }
        return nil
    }
}

extension UInt8 {
    static let tab = UInt8(ascii: "\t")
    static let lineFeed = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")
}
