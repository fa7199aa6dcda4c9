// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// IPv4 addresses for nodes, out of 198.18.0.0/15, for programs that know nothing else. An address stands for the same node
/// as long as this lives.
struct MappedNodes {
    private var addresses: [IPAddress: IPAddress] = [:]
    private var nodes: [IPAddress] = []

    private static let base: UInt32 = 0xC612_0000
    /// Nodes that get an address; the others have none.
    static let most = 16_384

    /// The address of a node.
    /// - Parameter node: its transport ID.
    /// - Returns: nil where there are too many.
    mutating func address(of node: IPAddress) -> IPAddress? {
        if let address = addresses[node] { return address }
        guard nodes.count < MappedNodes.most else { return nil }
        nodes.append(node)
        // Not 198.18.0.0, which looks like a network's.
        let address = IPAddress(v4: MappedNodes.base + UInt32(nodes.count))
        addresses[node] = address
        return address
    }

    /// What an address stands for; itself where that is no mapped one, nil where nobody was given it.
    func node(at address: IPAddress) -> IPAddress? {
        guard address.family == .v4, address.value >> 17 == UInt128(MappedNodes.base >> 17) else { return address }
        let index = Int(truncatingIfNeeded: address.value) - Int(MappedNodes.base) - 1
        return nodes.indices.contains(index) ? nodes[index] : nil
    }
}
