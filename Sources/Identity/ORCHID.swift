// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
public import Primitives

extension NodeID {
    /// The node's own transport ID: an ORCHIDv2 (RFC 7343, 2), an IPv6 address that is a hash of the node's key and is
    /// never routed. Two nodes share one with a chance of 2^-96, and nobody can make a key for another's.
    ///
    ///     Input      := the node's ID, 32 bytes
    ///     Hash Input := Context ID | Input
    ///     Hash       := SHA-256(Hash Input)
    ///     ORCHID     := 2001:20::/28 | OGA ID (4 bits) | the middle 96 bits of Hash
    public var transportAddress: IPAddress {
        let hash = SHA256.hash(ORCHID.contextID + bytes)
        let middle = hash[10..<22].reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
        return IPAddress(v6: ORCHID.prefix << 100 | ORCHID.generationAlgorithm << 96 | middle)
    }
}

/// What makes our ORCHIDs ours. All of it is part of the protocol: another value is another address for every node.
enum ORCHID {
    /// The first 28 bits: 2001:20::/28 (RFC 7343, 6).
    static let prefix: UInt128 = 0x2001_002
    /// The OGA ID: within our context 1 stands for SHA-256 over a node's ID.
    static let generationAlgorithm: UInt128 = 1
    /// The Context ID, 128 bits drawn once at random for natfwt (RFC 7343, 2: it separates the uses of ORCHIDs).
    static let contextID: [UInt8] = [
        0xC7, 0x2E, 0x01, 0x15, 0x13, 0xBC, 0x35, 0xAB, 0xE4, 0x35, 0x0F, 0x62, 0x7A, 0xD4, 0x7C, 0x28,
    ]
}

extension IPAddress {
    /// Whether the address lies in the prefix that ORCHIDs have, 2001:20::/28, and so can be no host's on the Internet.
    public var isORCHID: Bool { family == .v6 && value >> 100 == ORCHID.prefix }
}
