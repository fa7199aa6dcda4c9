// SPDX-License-Identifier: Apache-2.0

/// Base64 as RFC 4648 has it, in the two alphabets that we write. Reading is strict: no character outside the alphabet,
/// and no bits left over, so that one string of bytes has one text only.
public enum Base64 {
    public enum Alphabet: Sendable {
        /// RFC 4648, 4: `+` and `/`.
        case standard
        /// RFC 4648, 5: `-` and `_`, for text that is copied by hand and put into addresses.
        case url
    }

    public static func encode(_ bytes: [UInt8], alphabet: Alphabet = .standard, padding: Bool = true) -> String {
        let digits = alphabet.digits
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                text.append(digits[Int(bits >> UInt32(count) & 63)])
            }
        }
        if count > 0 { text.append(digits[Int(bits << UInt32(6 - count) & 63)]) }
        if padding { while !text.count.isMultiple(of: 4) { text.append(UInt8(ascii: "=")) } }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes that `text` stands for, or nil where it is no base64 of this alphabet. Padding may be left out, but
    /// where it is given it must be right.
    public static func decode(_ text: some StringProtocol, alphabet: Alphabet = .standard) -> [UInt8]? {
        var characters = Array(text.utf8)
        if characters.last == UInt8(ascii: "=") {
            guard characters.count.isMultiple(of: 4) else { return nil }
            characters.removeLast()
            if characters.last == UInt8(ascii: "=") { characters.removeLast() }
        }
        guard characters.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(characters.count * 3 / 4)
        var bits: UInt32 = 0
        var count = 0
        for character in characters {
            guard let digit = alphabet.value(of: character) else { return nil }
            bits = bits << 6 | digit
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return bits & (1 << UInt32(count) - 1) == 0 ? bytes : nil
    }
}

/// Base64 for text that travels in addresses and by hand: RFC 4648, 5, without padding.
public enum Base64URL {
    public static func encode(_ bytes: [UInt8]) -> String { Base64.encode(bytes, alphabet: .url, padding: false) }
    /// Nil where the text is no such base64, or is padded.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        text.hasSuffix("=") ? nil : Base64.decode(text, alphabet: .url)
    }
}

extension Base64.Alphabet {
    fileprivate var digits: [UInt8] {
        switch self {
        case .standard: standardDigits
        case .url: urlDigits
        }
    }

    fileprivate func value(of character: UInt8) -> UInt32? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0")) + 52
        case digits[62]: 62
        case digits[63]: 63
        default: nil
        }
    }
}

private let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
private let standardDigits = letters + Array("+/".utf8)
private let urlDigits = letters + Array("-_".utf8)
