// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Registry
internal import Tunneling

// How nodes find each other, and reach each other through the relay. What passes between them is sealed from the one's
// key to the other's: the relay sees who talks to whom, and how much.

extension NodeTable: EndpointAcceptor {
    /// A node opens something: to another node, or to a host that is none.
    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        guard !isDraining else { return .notAllowed }
        let wanted = endpoint.destination
        guard endpoint.kind == .stream, wanted.port == 0, wanted.host == nil, let id = wanted.address, id.isORCHID
        else {
            return letOut(endpoint)
        }
        return join(endpoint, to: id)
    }

    /// The two are joined, unless the registry forbids it. What the one may reach at the other is the other's word.
    private func join(_ endpoint: Endpoint, to id: IPAddress) -> EndpointResetCode? {
        guard let node = node(at: id), let instance = node.provider.instance else { return .unreachable }
        let target = node.provider
        guard target.remote != endpoint.remote, let from = self.node(at: endpoint.remote.address),
            from.record.permissions.reach.allows(node.record.name)
        else { return .notAllowed }
        let pair = NodePair(from: endpoint.remote, to: target.remote)
        // A tunnel carries any number of streams; without a bound one node could use all the streams of another up.
        guard tunnels[pair, default: 0] < Self.mostTunnelsOfAPair else { return .limit }
        tunnels[pair, default: 0] += 1
        let source = TransportAddress(endpoint.remote.address, port: 0)
        return EndpointBridge.join(endpoint, ended: { [weak self] in self?.tunnelEnded(pair) }) {
            [platform] application throws(PlatformError) in
            try platform.openEndpoint(
                kind: .stream, from: target.local, to: target.remote, destination: EndpointDestination(port: 0),
                source: source, over: instance, application: application, now: loop.now)
        }
    }
}

// Connections that are joined: what two nodes may have who may have a tunnel.
extension NodeTable {
    /// A node opens a connection that is to be made one with another node's.
    func join(_ arrival: Arrival, node: NodeID, _ request: JoinRequest) {
        let (one, other) = (TransportID(node.transportAddress), TransportID(request.peer))
        let tunnels = [NodePair(from: one, to: other), NodePair(from: other, to: one)]
            .filter { self.tunnels[$0] != nil && isAllowed($0) }
        joins.join(arrival, node: node, request, tunnels: tunnels)
    }

    /// Ends those whose nodes may reach each other no more, or are gone.
    func sweepJoints() {
        joins.sweep(isHere: { nodes[$0] != nil }, isAllowed: isAllowed)
    }

    /// Ends those of nodes that are not connected, and were removed.
    func endJoints() {
        for node in joins.nodes where nodes[node] == nil {
            do throws(RegistryError) {
                if try registry.node(node) == nil { joins.end(of: node) }
            } catch {
                logger.error("the registry failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Whether a node may make a tunnel to another one, where both are connected.
    private func isAllowed(_ pair: NodePair) -> Bool {
        guard let from = node(at: pair.from.address)?.record, let to = node(at: pair.to.address)?.record else {
            return false
        }
        return from.permissions.reach.allows(to.name)
    }
}

/// Two nodes, the one that has made a tunnel and the one that it leads to.
struct NodePair: Hashable {
    let from: TransportID
    let to: TransportID
}

extension NodeTable {
    /// Tunnels from one node to another at once. One is enough; others may be on their way to their end.
    static let mostTunnelsOfAPair = 8

    /// Ends the tunnels that a node has made to those that it may reach no more.
    func endTunnels(of node: Node, allowed: NodeReach) {
        guard let instance = node.provider.instance else { return }
        for endpoint in instance.endpoints where EndpointBridge.holds(endpoint) {
            guard let id = endpoint.destination.address, let target = self.node(at: id)?.record.name else { continue }
            if !allowed.allows(target) { EndpointBridge.cut(endpoint, .notAllowed) }
        }
    }

    private func tunnelEnded(_ pair: NodePair) {
        guard let count = tunnels[pair] else { return }
        tunnels[pair] = count > 1 ? count - 1 : nil
    }

    /// Nodes that one answer names at most.
    private static let longestList = 1_000

    func nodeProvider(_ provider: NodeProvider, received reach: ReachRequest) {
        guard let node = request(of: provider) else { return }
        do throws(RegistryError) {
            // A node is told of those that it may reach, and of those that may reach it: it may want to serve them.
            let found = try find(reach.target).filter { node.record.maySee($0) }
            for (index, record) in found.enumerated() {
                var answer = ReachAnswer(
                    id: reach.id, state: nodes[record.id] == nil ? .away : .here, key: record.id.bytes,
                    name: record.name.text, isFollowed: index < found.count - 1)
                answer.mayBeReached = node.record.permissions.reach.allows(record.name)
                answer.mayReach = record.permissions.reach.allows(node.record.name)
                provider.tunnel?.answer(answer)
            }
            if found.isEmpty { provider.tunnel?.answer(ReachAnswer(id: reach.id, state: .unknown)) }
        } catch {
            logger.error("the registry failed", metadata: ["error": "\(error)"])
            provider.tunnel?.answer(ReachAnswer(id: reach.id, state: .unknown))
        }
    }

    /// The nodes that the registry knows by that name or transport ID; without either, all.
    private func find(_ target: TunnelAddress) throws(RegistryError) -> [NodeRecord] {
        switch target {
        case .address(let address):
            if let node = node(at: address.ip) { return [node.record] }
            return try [record(at: address.ip)].compactMap(\.self)
        case .host(let host):
            return try registry.nodes().filter { $0.name.text.lowercased() == host.host.lowercased() }
        case .none: return Array(try registry.nodes().prefix(Self.longestList))
        }
    }

    /// What the registry says of a node that is not connected. Many may ask at once, after each change.
    private func record(at address: IPAddress) throws(RegistryError) -> NodeRecord? {
        if registered == nil {
            let all = try registry.nodes().map { ($0.id.transportAddress, $0.id) }
            registered = Dictionary(all) { first, _ in first }
        }
        guard let node = registered?[address] else { return nil }
        return try registry.node(node)
    }
}

extension NodeRecord {
    fileprivate func maySee(_ other: NodeRecord) -> Bool {
        id == other.id || permissions.reach.allows(other.name) || other.permissions.reach.allows(name)
    }
}
