// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
internal import Primitives

/// The secret in an invite: 128 random bits. Whoever shows it first becomes the node that the invite was made for.
public struct InviteToken: Hashable, Sendable {
    public static let byteCount = 16

    private let value: UInt128

    /// A fresh token; the generator is `SecureRandom` wherever it is not a test's.
    public init(using generator: inout some RandomNumberGenerator) {
        value = UInt128(generator.next()) << 64 | UInt128(generator.next())
    }

    /// Nil where there are not 16 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == InviteToken.byteCount else { return nil }
        value = bytes.reduce(0) { $0 << 8 | UInt128($1) }
    }

    /// The secret itself.
    public var bytes: [UInt8] {
        var writer = ByteWriter(reserving: InviteToken.byteCount)
        writer.write(value)
        return writer.bytes
    }

    /// SHA-256 of the token: what a registry stores, and looks tokens up by, so that neither a stolen registry nor the
    /// time of a look-up gives a token away.
    public var digest: [UInt8] { SHA256.hash(bytes) }
}

extension InviteToken: CustomStringConvertible {
    /// No log ever holds a token.
    public var description: String { "InviteToken(secret)" }
}
