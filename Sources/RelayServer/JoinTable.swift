// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Providers
internal import Telemetry
internal import Tunneling

/// Connections of two nodes that the relay makes one of (tunnel protocol, "Joined connections"): after that the kernel carries
/// the bytes, which are sealed between the two with keys that the relay does not have.
final class JoinTable {
    /// A connection whose other half has not come yet.
    private struct Waiting {
        let arrival: Arrival
        let node: NodeID
        let peer: IPAddress
    }

    /// Two connections that are one now.
    private struct Joint {
        let splice: StreamSplice
        let nodes: (NodeID, NodeID)
        /// The tunnels that the two had then: one of them must still be allowed.
        let tunnels: [NodePair]
        /// Since when one of the two has had no session.
        var aloneSince: Instant?
    }

    private let loop: EventLoop
    private let logger: Logger
    private var waiting: [[UInt8]: Waiting] = [:]
    private var joints: [ObjectIdentifier: Joint] = [:]
    /// Bytes that those have carried that are over.
    private var carriedBefore: UInt64 = 0
    private(set) var isDraining = false

    /// Of one node at once: that wait, and that are joined.
    private static let mostWaiting = 16
    private static let mostJoints = 256
    /// Nothing was carried for so long: nodes ask each other for a sign of life far more often.
    private static let silence: Duration = .seconds(300)
    /// A node whose session is gone has so long to come back, as after a change of its address.
    private static let patience: Duration = .seconds(30)

    init(loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
    }

    var count: Int { joints.count }
    /// Connections whose other half has not come.
    var waitingCount: Int { waiting.count }
    /// Those that have any.
    var nodes: Set<NodeID> { Set(joints.values.flatMap { [$0.nodes.0, $0.nodes.1] }) }
    var byteCount: UInt64 { joints.values.reduce(carriedBefore) { $0 + $1.splice.byteCount } }

    // MARK: Joining

    /// Takes a connection that a node has opened to have it joined with another one's.
    /// - Parameter tunnels: those that the two have, in either direction; none: they don't know each other from here.
    func join(_ arrival: Arrival, node: NodeID, _ request: JoinRequest, tunnels: [NodePair]) {
        guard !isDraining else { return arrival.refuse(GoAway(code: .shutdown, text: "the relay is stopping")) }
        guard !tunnels.isEmpty else {
            return arrival.refuse(GoAway(code: .notAllowed, text: "the two nodes have no tunnel here"))
        }
        guard let other = waiting.removeValue(forKey: request.token) else {
            return wait(Waiting(arrival: arrival, node: node, peer: request.peer), request.token)
        }
        guard other.peer == node.transportAddress, other.node.transportAddress == request.peer else {
            let refusal = GoAway(code: .notAllowed, text: "the token was made for two other nodes")
            other.arrival.refuse(refusal)
            return arrival.refuse(refusal)
        }
        join(other, Waiting(arrival: arrival, node: node, peer: request.peer), tunnels)
    }

    private func wait(_ half: Waiting, _ token: [UInt8]) {
        guard waiting.values.count(where: { $0.node == half.node }) < Self.mostWaiting,
            joints.values.count(where: { $0.nodes.0 == half.node || $0.nodes.1 == half.node }) < Self.mostJoints
        else {
            return half.arrival.refuse(
                GoAway(code: .limit, text: "the node has too many joined connections already"))
        }
        waiting[token] = half
    }

    private func join(_ first: Waiting, _ second: Waiting, _ tunnels: [NodePair]) {
        first.arrival.carrier.tunnel.joined()
        second.arrival.carrier.tunnel.joined()
        let streams = (first.arrival.carrier.surrender(), second.arrival.carrier.surrender())
        guard let one = streams.0, let two = streams.1 else {
            streams.0?.close()
            streams.1?.close()
            return logger.info(
                "two nodes' connections can't be joined: one of them has more to read or to send than it may",
                metadata: ["nodes": "\(first.node) \(second.node)"])
        }
        do throws(UVError) {
            let splice = try StreamSplice(loop: loop, one, two, delegate: self)
            joints[ObjectIdentifier(splice)] = Joint(
                splice: splice, nodes: (first.node, second.node), tunnels: tunnels)
        } catch {
            logger.error("two nodes' connections can't be joined", metadata: ["error": "\(error)"])
        }
    }

    /// A connection died before its other half came.
    func forget(_ arrival: Arrival) {
        for (token, half) in waiting where half.arrival === arrival { waiting[token] = nil }
    }

    // MARK: Ending

    /// Ends what is not allowed any more, and what nobody uses; call it every second or so.
    /// - Parameters:
    ///   - isHere: whether a node has a session.
    ///   - isAllowed: whether a node may make a tunnel to another one, where both have a session.
    func sweep(isHere: (NodeID) -> Bool, isAllowed: (NodePair) -> Bool) {
        for (key, joint) in joints {
            let bothAreHere = isHere(joint.nodes.0) && isHere(joint.nodes.1)
            let since = bothAreHere ? nil : joint.aloneSince ?? loop.now
            joints[key]?.aloneSince = since
            let isForbidden = bothAreHere && !joint.tunnels.contains(where: isAllowed)
            let isAbandoned = since.map { loop.now - $0 >= Self.patience } ?? false
            guard isForbidden || isAbandoned || loop.now - joint.splice.usedAt >= Self.silence else { continue }
            end(key)
        }
    }

    /// Ends the connections of a node that was removed.
    func end(of node: NodeID) {
        for (token, half) in waiting where half.node == node {
            waiting[token] = nil
            half.arrival.refuse(GoAway(code: .revoked, text: "the node was removed"))
        }
        for (key, joint) in joints where joint.nodes.0 == node || joint.nodes.1 == node { end(key) }
    }

    /// No new ones.
    func drain() {
        isDraining = true
        for half in waiting.values {
            half.arrival.refuse(GoAway(code: .shutdown, text: "the relay is stopping"))
        }
        waiting = [:]
    }

    private func end(_ key: ObjectIdentifier) {
        guard let joint = joints.removeValue(forKey: key) else { return }
        carriedBefore += joint.splice.byteCount
        joint.splice.close()
    }
}

extension JoinTable: StreamSpliceDelegate {
    func streamSpliceEnded(_ splice: StreamSplice) {
        guard joints.removeValue(forKey: ObjectIdentifier(splice)) != nil else { return }
        carriedBefore += splice.byteCount
    }
}
