// SPDX-License-Identifier: Apache-2.0

/// The few forms of DER (ITU-T X.690) that our keys and certificates are made of. Writing only: libcrypto reads.
enum DER {
    /// 1.3.101.112, id-Ed25519 (RFC 8410, 3).
    static let ed25519 = objectIdentifier([0x2B, 0x65, 0x70])
    /// 2.5.4.3, commonName.
    static let commonName = objectIdentifier([0x55, 0x04, 0x03])
    /// 2.5.29.15, keyUsage, and 2.5.29.19, basicConstraints (RFC 5280, 4.2.1).
    static let keyUsage = objectIdentifier([0x55, 0x1D, 0x0F])
    static let basicConstraints = objectIdentifier([0x55, 0x1D, 0x13])
    static let yes = element(0x01, [0xFF])

    static func sequence(_ parts: [UInt8]...) -> [UInt8] { element(0x30, parts.flatMap { $0 }) }
    static func set(_ part: [UInt8]) -> [UInt8] { element(0x31, part) }
    static func octetString(_ bytes: [UInt8]) -> [UInt8] { element(0x04, bytes) }
    static func bitString(_ bytes: [UInt8], unusedBits: UInt8 = 0) -> [UInt8] { element(0x03, [unusedBits] + bytes) }
    static func objectIdentifier(_ encoded: [UInt8]) -> [UInt8] { element(0x06, encoded) }
    static func utf8String(_ text: String) -> [UInt8] { element(0x0C, Array(text.utf8)) }
    static func utcTime(_ text: String) -> [UInt8] { element(0x17, Array(text.utf8)) }
    static func generalizedTime(_ text: String) -> [UInt8] { element(0x18, Array(text.utf8)) }
    /// A field with an explicit context tag.
    static func explicit(_ tag: UInt8, _ part: [UInt8]) -> [UInt8] { element(0xA0 | tag, part) }

    static func integer(_ value: UInt8) -> [UInt8] { integer([value]) }
    /// A positive number, most significant byte first.
    static func integer(_ magnitude: [UInt8]) -> [UInt8] {
        let digits = magnitude.drop { $0 == 0 }
        let first = digits.first ?? 0x80
        return element(0x02, (first & 0x80 != 0 ? [0] : []) + digits)
    }

    static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        if content.count < 0x80 { return [tag, UInt8(content.count)] + content }
        var length: [UInt8] = []
        var rest = content.count
        while rest > 0 {
            length.insert(UInt8(truncatingIfNeeded: rest), at: 0)
            rest >>= 8
        }
        return [tag, 0x80 | UInt8(length.count)] + length + content
    }
}
