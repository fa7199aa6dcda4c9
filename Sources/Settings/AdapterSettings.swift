// SPDX-License-Identifier: Apache-2.0

/// An interface of this host that leads to the other nodes: the table `[adapter]`.
public struct AdapterSettings: Hashable, Sendable {
    /// What the interface is called unless something else is said.
    public static let usualName = "natfwt0"

    public var name: String

    public init(name: String = AdapterSettings.usualName) { self.name = name }

    /// What to tell a person whose name was refused.
    public static let expectedName = "an interface's name: 1 to 15 letters, digits, \"-\", \"_\" and \".\""

    /// Whether an interface may be called so; the kernel would take more, and `%` for a number.
    public static func isName(_ text: String) -> Bool {
        (1...15).contains(text.utf8.count) && text != "." && text != ".." && text.utf8.allSatisfy(isNameByte)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}

extension AdapterSettings {
    init(from table: inout TableReader) {
        name =
            table.value("name", expected: AdapterSettings.expectedName) { value in
                if case .string(let text) = value, AdapterSettings.isName(text) { text } else { nil }
            } ?? AdapterSettings.usualName
        table.finish()
    }
}
