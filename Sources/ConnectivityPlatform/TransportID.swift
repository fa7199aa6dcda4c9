// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// A binary object that stands for an IPv4 or IPv6 address and names a node (obligations 17, 20).
///
/// Only the platform gives them out; a provider compares them whole and may send ``bytes`` to its peers. A value of
/// 17 bytes without references, so that a copy is a deep copy.
public struct TransportID: Hashable, Sendable {
    // Two words instead of one of 128 bits: an endpoint holds two IDs, and this halves what they take.
    private let high: UInt64
    private let low: UInt64
    private let family: IPAddress.Family

    /// An ID from an address. An IPv4 address in IPv6 form becomes the IPv4 address; a scope is no part of an ID.
    public init(_ address: IPAddress) {
        let address = address.canonical
        high = UInt64(truncatingIfNeeded: address.value >> 64)
        low = UInt64(truncatingIfNeeded: address.value)
        family = address.family
    }

    /// An ID from what ``bytes`` gave: 4 or 16 bytes in network order.
    public init?(bytes: some Collection<UInt8>) {
        let value = bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
        switch bytes.count {
        case 4: self.init(IPAddress(v4: UInt32(truncatingIfNeeded: value)))
        case 16: self.init(IPAddress(v6: value))
        default: return nil
        }
    }

    /// The address that the ID stands for.
    public var address: IPAddress {
        switch family {
        case .v4: IPAddress(v4: UInt32(truncatingIfNeeded: low))
        case .v6: IPAddress(v6: UInt128(high) << 64 | UInt128(low))
        }
    }

    /// What is sent to peers: 4 or 16 bytes in network order.
    public var bytes: [UInt8] { address.bytes }
}

extension TransportID: CustomStringConvertible {
    public var description: String { address.description }
}

/// Where the platform takes transport IDs from when it has to make one up.
public struct TransportIDPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// Leading bits that every ID shares with ``address``.
    public let length: Int

    /// - Parameter length: held between 0 and the address's width.
    public init(_ address: IPAddress, length: Int) {
        self.address = address
        self.length = max(0, min(length, address.family == .v4 ? 32 : 128))
    }

    /// A unique local prefix of the platform's own (RFC 4193, 3.2.2: the 40 bits were drawn at random).
    public static let uniqueLocal = TransportIDPrefix(IPAddress(v6: 0xFD6A_913C_B7E4 << 80), length: 48)

    /// An ID from the prefix, the rest of it at random.
    public func next(using random: inout some RandomNumberGenerator) -> TransportID {
        let width = address.family == .v4 ? 32 : 128
        let free = width - length
        let mask: UInt128 = free == 128 ? .max : (1 << UInt128(free)) - 1
        let value = (address.value & ~mask) | (UInt128.random(in: 0...UInt128.max, using: &random) & mask)
        return TransportID(
            address.family == .v4 ? IPAddress(v4: UInt32(truncatingIfNeeded: value)) : IPAddress(v6: value))
    }
}
