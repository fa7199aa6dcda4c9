// SPDX-License-Identifier: Apache-2.0

/// A user name and a password, as bytes: no protocol here says what text they are, but UTF-8 is what everybody means.
public struct ProxyCredentials: Hashable, Sendable {
    public let user: [UInt8]
    public let password: [UInt8]

    public init(user: [UInt8], password: [UInt8]) {
        self.user = user
        self.password = password
    }

    public init(user: String, password: String) {
        self.init(user: Array(user.utf8), password: Array(password.utf8))
    }

    /// Whether these are the ones. Both are compared to their ends, whatever is found on the way: the time tells how long
    /// the presented ones are, and nothing else.
    public func matches(_ presented: ProxyCredentials) -> Bool {
        let difference =
            ProxyCredentials.difference(presented.user, user)
            | ProxyCredentials.difference(presented.password, password)
        return difference == 0
    }

    private static func difference(_ presented: [UInt8], _ expected: [UInt8]) -> Int {
        var difference = presented.count ^ expected.count
        for (index, byte) in presented.enumerated() {
            difference |= Int(byte ^ (expected.isEmpty ? 0 : expected[index % expected.count]))
        }
        return difference
    }
}

extension ProxyCredentials: CustomStringConvertible {
    /// The user name. The password is never printed.
    public var description: String { String(decoding: user, as: UTF8.self) }
}

// MARK: - HTTP

extension ProxyCredentials {
    /// RFC 7617, 2: the token of the Basic scheme, which is base64 of user name, colon, password. The first colon parts
    /// them.
    init?(basic token: some StringProtocol) {
        guard let bytes = ProxyCredentials.decode(token), let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else {
            return nil
        }
        self.init(user: Array(bytes[..<colon]), password: Array(bytes[(colon + 1)...]))
    }

    /// The token of the Basic scheme; nil where the user name has a colon, which it can't express.
    var basic: String? {
        guard !user.contains(UInt8(ascii: ":")) else { return nil }
        return ProxyCredentials.encode(user + [UInt8(ascii: ":")] + password)
    }

    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// RFC 4648, 4.
    private static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for place in 0..<4 {
                text.append(place <= group.count ? digits[Int(bits >> 18 & 63)] : UInt8(ascii: "="))
                bits <<= 6
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Padding may be left out, but where it is given it must be right; bits left over must be zero.
    private static func decode(_ token: some StringProtocol) -> [UInt8]? {
        let characters = Array(token.utf8)
        let padding = characters.reversed().prefix { $0 == UInt8(ascii: "=") }.count
        guard padding == 0 || padding <= 2 && characters.count.isMultiple(of: 4) else { return nil }
        guard (characters.count - padding) % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for character in characters.dropLast(padding) {
            guard let digit = value(of: character) else { return nil }
            bits = bits << 6 | digit
            count += 6
            guard count >= 8 else { continue }
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> count))
        }
        return bits & (1 << count - 1) == 0 ? bytes : nil
    }

    private static func value(of character: UInt8) -> UInt32? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
