// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// Has names looked up, for each node only few at once: who asks for many whose servers do not answer keeps nobody waiting
/// but itself. What a node has in its queue is bounded by its dials.
final class EgressLookups {
    typealias Completion = (Result<[TransportAddress], UVError>) -> Void

    private struct Node {
        var underWay = 0
        /// The oldest first.
        var waiting: [(name: HostAndPort, completion: Completion)] = []
    }

    private let loop: EventLoop
    private var nodes: [TransportID: Node] = [:]

    /// Names of one node that the system is asked for at once: fewer than it takes.
    static let perNode = 4

    init(loop: EventLoop) { self.loop = loop }

    /// Lookups that have not been answered.
    func count(of node: TransportID) -> (underWay: Int, waiting: Int) {
        let found = nodes[node] ?? Node()
        return (found.underWay, found.waiting.count)
    }

    func resolve(_ name: HostAndPort, for node: TransportID, _ completion: @escaping Completion) {
        nodes[node, default: Node()].waiting.append((name, completion))
        begin(node)
    }

    private func begin(_ id: TransportID) {
        guard var node = nodes[id], node.underWay < Self.perNode, !node.waiting.isEmpty else { return }
        let next = node.waiting.removeFirst()
        node.underWay += 1
        nodes[id] = node
        Resolver.resolve(loop: loop, next.name) { [self] result in
            ended(id)
            next.completion(result)
        }
    }

    private func ended(_ id: TransportID) {
        guard var node = nodes[id] else { return }
        node.underWay -= 1
        nodes[id] = node.underWay == 0 && node.waiting.isEmpty ? nil : node
        begin(id)
    }
}
