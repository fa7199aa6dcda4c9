// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// The addresses by which applications that look up names reach nodes: a node's transport ID, and for those that know IPv4
/// only a mapped one of 198.18.0.0/15. One for all that hand out or take such addresses: each stands for the same node as
/// long as this lives. Owned by the loop.
public final class NodeAddresses {
    private var mapped = MappedNodes()

    public init() {}

    /// The IPv4 address of a node, by its transport ID; nil where there are too many.
    public func mappedAddress(of node: IPAddress) -> IPAddress? { mapped.address(of: node) }

    /// Whom an address means: a transport ID is itself, a mapped address its node.
    public func meaning(of address: IPAddress) -> AddressMeaning {
        if NodeAddresses.transportIDs?.contains(address) == true { return .node(address) }
        guard MappedNodes.contains(address) else { return .host }
        return mapped.node(at: address).map(AddressMeaning.node) ?? .nobody
    }

    /// RFC 7343, 6.
    private static let transportIDs = AddressPrefix(IPAddress(v6: 0x2001_0020 << 96), length: 28)
}

/// Whom an application means by an address.
public enum AddressMeaning: Equatable, Sendable {
    /// A node, by its transport ID.
    case node(IPAddress)
    /// Nobody was given this address of 198.18.0.0/15.
    case nobody
    /// Some host that is no node.
    case host
}
