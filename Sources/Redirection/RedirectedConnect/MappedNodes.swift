// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// IPv4 addresses for nodes, out of 198.18.0.0/15, for programs that know nothing else. An address stands for the same node
/// as long as this lives; and most often afterwards too, for whoever keeps it longer than he was told: the first that is
/// tried follows from the transport ID, which is a hash.
struct MappedNodes {
    private var addresses: [IPAddress: IPAddress] = [:]
    private var nodes: [IPAddress: IPAddress] = [:]

    private static let base: UInt32 = 0xC612_0000
    /// All but the first and the last, which look like a network's own and its broadcast address.
    private static let places: UInt32 = 1 << 17 - 2
    /// Nodes that get an address; the others have none.
    static let most = 16_384

    /// The address of a node.
    /// - Parameter node: its transport ID.
    /// - Returns: nil where there are too many.
    mutating func address(of node: IPAddress) -> IPAddress? {
        if let address = addresses[node] { return address }
        guard addresses.count < MappedNodes.most else { return nil }
        // One place in eight is taken at most: a free one is near.
        var place = UInt32(truncatingIfNeeded: node.value) % MappedNodes.places
        while nodes[MappedNodes.address(at: place)] != nil {
            place = (place + 1) % MappedNodes.places
        }
        let address = MappedNodes.address(at: place)
        nodes[address] = node
        addresses[node] = address
        return address
    }

    /// What an address stands for; itself where that is no mapped one, nil where nobody was given it.
    func node(at address: IPAddress) -> IPAddress? { MappedNodes.contains(address) ? nodes[address] : address }

    /// Whether the address is one of those that nodes are given.
    static func contains(_ address: IPAddress) -> Bool {
        address.family == .v4 && address.value >> 17 == UInt128(base >> 17)
    }

    private static func address(at place: UInt32) -> IPAddress { IPAddress(v4: base + 1 + place) }
}
