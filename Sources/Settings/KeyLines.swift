// SPDX-License-Identifier: Apache-2.0

/// Finds the line on which each key and each array element of a TOML document stands: the TOML library tells positions
/// only for syntax errors, but a wrong value wants its line too.
///
/// It walks the text by the grammar of TOML 1.0 without understanding scalars, and refuses what breaks that grammar. So
/// the library sees only what is built of keys, tables and values; on the rest some of its versions trip over their own
/// assertions. What would be deeper than `maximumDepth` is refused for the same reason: its destructors recurse.
struct KeyLines {
    static let maximumDepth = 32

    /// Where the text is not what TOML wants, and how.
    struct Failure: Error, Equatable {
        let line: Int
        let message: String
    }

    /// A path of keys; an element of an array is written `#0`, `#1`, … which no key collides with: keys carry a leading dot.
    private(set) var lines: [[String]: Int] = [:]
    private let bytes: [UInt8]
    private var at = 0
    private var line = 1
    private var tableCounts: [[String]: Int] = [:]

    init(_ text: String) throws(Failure) {
        bytes = Array(text.utf8)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
        try walk()
    }

    static func key(_ name: String) -> String { "." + name }
    static func element(_ index: Int) -> String { "#\(index)" }

    private mutating func walk() throws(Failure) {
        var table: [String] = []
        while try skipBlank(newlines: true) {
            if peek == UInt8(ascii: "[") {
                table = try header()
            } else {
                try keyAndValue(in: table)
            }
            _ = try skipBlank(newlines: false)
            guard at >= bytes.count || peek == UInt8(ascii: "\n") else { throw unexpected("the end of the line") }
        }
    }

    // MARK: Tables and keys

    private mutating func header() throws(Failure) -> [String] {
        let start = line
        try expect("[")
        let isArray = peek == UInt8(ascii: "[")
        if isArray { try expect("[") }
        let names = try keyPath()
        try expect("]")
        if isArray { try expect("]") }
        var path: [String] = []
        for (index, name) in names.enumerated() {
            path.append(name)
            note(path, line: start)
            if isArray && index == names.count - 1 {
                tableCounts[path, default: 0] += 1
            }
            if let count = tableCounts[path] { path.append(KeyLines.element(count - 1)) }
        }
        note(path, line: start)
        return path
    }

    private mutating func keyAndValue(in table: [String]) throws(Failure) {
        let start = line
        let names = try keyPath()
        var path = table
        guard path.count + names.count <= KeyLines.maximumDepth else { throw tooDeep }
        // The tables that a dotted key makes stand on its line too.
        for name in names {
            path.append(name)
            note(path, line: start)
        }
        _ = try skipBlank(newlines: false)
        try expect("=")
        _ = try skipBlank(newlines: false)
        try value(path)
    }

    private mutating func keyPath() throws(Failure) -> [String] {
        var path: [String] = []
        repeat {
            if !path.isEmpty { try expect(".") }
            _ = try skipBlank(newlines: false)
            path.append(KeyLines.key(try simpleKey()))
            guard path.count <= KeyLines.maximumDepth else { throw tooDeep }
            _ = try skipBlank(newlines: false)
        } while peek == UInt8(ascii: ".")
        return path
    }

    private mutating func simpleKey() throws(Failure) -> String {
        if peek == UInt8(ascii: "\"") || peek == UInt8(ascii: "'") { return try string() }
        let start = at
        while let byte = peek, KeyLines.isBare(byte) { at += 1 }
        guard at > start else { throw unexpected("a key") }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    // MARK: Values

    private mutating func value(_ path: [String]) throws(Failure) {
        guard path.count <= KeyLines.maximumDepth else { throw tooDeep }
        switch peek {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): _ = try string()
        case UInt8(ascii: "["): try array(path)
        case UInt8(ascii: "{"): try inlineTable(path)
        default: try scalar()
        }
    }

    private mutating func array(_ path: [String]) throws(Failure) {
        try expect("[")
        var index = 0
        while try skipBlank(newlines: true), peek != UInt8(ascii: "]") {
            let element = path + [KeyLines.element(index)]
            note(element, line: line)
            try value(element)
            index += 1
            guard try skipBlank(newlines: true), peek == UInt8(ascii: ",") else { break }
            at += 1
        }
        try expect("]")
    }

    private mutating func inlineTable(_ path: [String]) throws(Failure) {
        try expect("{")
        while try skipBlank(newlines: true), peek != UInt8(ascii: "}") {
            try keyAndValue(in: path)
            guard try skipBlank(newlines: true), peek == UInt8(ascii: ",") else { break }
            at += 1
        }
        try expect("}")
    }

    /// A number, a date or a boolean: everything up to what can follow a value.
    private mutating func scalar() throws(Failure) {
        guard let first = peek, KeyLines.isBare(first) || first == UInt8(ascii: "+") else {
            throw unexpected("a value")
        }
        while let byte = peek, !",]}#\n".utf8.contains(byte) { at += 1 }
    }

    /// A string of any of the four kinds; gives its text without resolving escapes.
    private mutating func string() throws(Failure) -> String {
        guard let quote = peek else { throw unexpected("a string") }
        let unended = Failure(line: line, message: "the string does not end")
        let isLong = bytes[at...].starts(with: [quote, quote, quote])
        at += isLong ? 3 : 1
        let start = at
        while let byte = peek {
            if byte == quote && (!isLong || bytes[at...].starts(with: [quote, quote, quote])) {
                let text = String(decoding: bytes[start..<at], as: UTF8.self)
                closeString(quote, isLong: isLong)
                return text
            }
            if byte == UInt8(ascii: "\n") {
                guard isLong else { throw unended }
                line += 1
            }
            if byte == UInt8(ascii: "\\") && quote == UInt8(ascii: "\"") { try escape() } else { at += 1 }
        }
        throw unended
    }

    /// Up to two quotes may stand before the closing three: they belong to the text.
    private mutating func closeString(_ quote: UInt8, isLong: Bool) {
        at += isLong ? 3 : 1
        var extra = 0
        while isLong, extra < 2, peek == quote {
            at += 1
            extra += 1
        }
    }

    private mutating func escape() throws(Failure) {
        let rest = bytes[at...]
        if rest.starts(with: Array(#"\u0000"#.utf8)) || rest.starts(with: Array(#"\U00000000"#.utf8)) {
            throw nul
        }
        at += 1
        if let byte = peek, byte != UInt8(ascii: "\n") { at += 1 }
    }

    // MARK: The ground

    private var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func expect(_ character: Unicode.Scalar) throws(Failure) {
        guard peek == UInt8(ascii: character) else { throw unexpected("\"\(character)\"") }
        at += 1
    }

    private func unexpected(_ expected: String) -> Failure {
        let rest = String(decoding: bytes[at...].prefix(4), as: UTF8.self).unicodeScalars.first
        let found =
            switch rest {
            case nil: "the end of the file"
            case "\n", "\r": "the end of the line"
            case let scalar?: "\"\(printable(String(scalar)))\""
            }
        return Failure(line: line, message: "expected \(expected), found \(found)")
    }

    private var tooDeep: Failure {
        Failure(line: line, message: "nested deeper than \(KeyLines.maximumDepth) levels")
    }

    private var nul: Failure { Failure(line: line, message: "expected text, found a NUL character") }

    private mutating func note(_ path: [String], line: Int) {
        if lines[path] == nil { lines[path] = line }
    }

    /// Skips spaces, comments and, if asked, line ends. False at the end of the text.
    private mutating func skipBlank(newlines: Bool) throws(Failure) -> Bool {
        while let byte = peek {
            switch byte {
            case 0: throw nul
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): at += 1
            case UInt8(ascii: "#"): while let byte = peek, byte != UInt8(ascii: "\n") { at += 1 }
            case UInt8(ascii: "\n") where newlines:
                line += 1
                at += 1
            default: return true
            }
        }
        return false
    }

    private static func isBare(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
