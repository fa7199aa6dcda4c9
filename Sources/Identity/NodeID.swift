// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
internal import Primitives

/// Who a node is: the SHA-256 of its public key's SubjectPublicKeyInfo. It can't be forged, and stays the same wherever the
/// node moves and whatever certificate it shows.
public struct NodeID: Hashable, Sendable {
    public static let byteCount = 32

    private let high: UInt128
    private let low: UInt128

    /// The node of a public key in DER, as a TLS peer shows it.
    public init(subjectPublicKeyInfoDER key: [UInt8]) {
        let digest = SHA256.hash(key)
        self.init(high: NodeID.number(digest.prefix(16)), low: NodeID.number(digest.dropFirst(16)))
    }

    /// The node of a digest that was stored or sent; nil where it has not 32 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == NodeID.byteCount else { return nil }
        self.init(high: NodeID.number(bytes.prefix(16)), low: NodeID.number(bytes.dropFirst(16)))
    }

    /// Reads the form that `description` has. Exactly one text stands for a node.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix(NodeID.prefix), text.utf8.count == NodeID.prefix.utf8.count + 43,
            let bytes = Base64.decode(text.dropFirst(NodeID.prefix.count))
        else { return nil }
        self.init(bytes: bytes)
    }

    private init(high: UInt128, low: UInt128) {
        self.high = high
        self.low = low
    }

    /// The 32 bytes of the digest.
    public var bytes: [UInt8] {
        var writer = ByteWriter(reserving: NodeID.byteCount)
        writer.write(high)
        writer.write(low)
        return writer.bytes
    }

    private static let prefix = "SHA256:"

    private static func number(_ bytes: some Sequence<UInt8>) -> UInt128 {
        bytes.reduce(0) { $0 << 8 | UInt128($1) }
    }
}

extension NodeID: CustomStringConvertible {
    /// `SHA256:` and the digest in base64 without padding, the form in which ssh-keygen prints fingerprints.
    public var description: String { NodeID.prefix + Base64.encode(bytes, padding: false) }
}
