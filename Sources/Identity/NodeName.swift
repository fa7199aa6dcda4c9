// SPDX-License-Identifier: Apache-2.0

/// What people call a node: 1 to 63 lower-case letters, digits and hyphens, so that it can stand in a host name, in a
/// metric and in a log line as it is.
public struct NodeName: Hashable, Sendable {
    public static let maximumLength = 63

    public let text: String

    /// Throws what is wrong with `text`, in words.
    public init(_ text: String) throws(NodeNameError) {
        let bytes = Array(text.utf8.prefix(NodeName.maximumLength + 1))
        guard !bytes.isEmpty else { throw .empty }
        guard bytes.count <= NodeName.maximumLength else { throw .tooLong }
        if let wrong = text.unicodeScalars.first(where: { !NodeName.isAllowed($0) }) { throw .character(wrong) }
        guard bytes.first != UInt8(ascii: "-"), bytes.last != UInt8(ascii: "-") else { throw .hyphenAtEnd }
        self.text = text
    }

    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "0"..."9", "-": true
        default: false
        }
    }
}

extension NodeName: CustomStringConvertible {
    public var description: String { text }
}

/// What is wrong with a node's name.
public enum NodeNameError: Error, Equatable, Sendable, CustomStringConvertible {
    case empty
    case tooLong
    case character(Unicode.Scalar)
    case hyphenAtEnd

    public var description: String {
        switch self {
        case .empty: "a node's name can't be empty"
        case .tooLong: "a node's name has at most \(NodeName.maximumLength) characters"
        case .character(let scalar):
            "a node's name is made of a-z, 0-9 and hyphens; \(NodeNameError.shown(scalar)) can't be in it"
        case .hyphenAtEnd: "a node's name neither begins nor ends with a hyphen"
        }
    }

    /// Control characters by their number, so that no name can play with a terminal.
    private static func shown(_ scalar: Unicode.Scalar) -> String {
        scalar.value >= 0x20 && scalar.value < 0x7F
            ? "\"\(scalar)\"" : "U+" + String(scalar.value, radix: 16, uppercase: true)
    }
}
