// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Primitives
internal import Providers
internal import Redirection
internal import Telemetry

/// Answers `natfwt nodes` and `natfwt ping`: who is there, over which path, and how far.
final class NodeQuestions {
    private let loop: EventLoop
    private let names: NodeNames
    private let peers: PeerTable
    private let router: AgentRouter

    init(loop: EventLoop, names: NodeNames, peers: PeerTable, router: AgentRouter) {
        self.loop = loop
        self.names = names
        self.peers = peers
        self.router = router
    }

    // MARK: Nodes

    /// Where the relay does not say who is there: those with which there is a tunnel, and then what is wrong.
    func list(json: Bool, to conversation: AdministrationConversation) {
        names.list { [peers] result in
            conversation.answer(.ok)
            switch result {
            case .success(let nodes):
                conversation.send(peers.text(of: nodes.map(ListedNode.init), json: json))
                conversation.end()
            case .failure(let failure):
                conversation.send(peers.text(of: peers.withTunnels, json: json))
                let others = "only nodes that have a tunnel with this one can be listed"
                conversation.refuse(.unavailable("\(failure.message): \(others)"))
            }
        }
    }

    // MARK: Ping

    /// One answer a second, as ping(8) does it.
    func ping(_ node: String, count: Int, to conversation: AdministrationConversation) {
        router.session(with: node, for: Applicant(asking: conversation)) { [self] result in
            switch result {
            case .failure(let failure): conversation.refuse(.unavailable(failure.message))
            case .success(let peer):
                conversation.answer(.ok)
                let pinging = Pinging(node, peer, count: count, conversation, peers: peers, loop: loop)
                conversation.onEnd = { pinging.stop() }
                pinging.next()
            }
        }
    }
}

/// One command's pings.
private final class Pinging: LoopTimerDelegate {
    private let node: String
    private let peer: PeerProvider
    private var left: Int
    private var number = 0
    private var conversation: AdministrationConversation?
    private let peers: PeerTable
    private let loop: EventLoop
    private var timer: LoopTimer?
    private var isWaiting = false

    private static let interval: Duration = .seconds(1)

    init(
        _ node: String, _ peer: PeerProvider, count: Int, _ conversation: AdministrationConversation,
        peers: PeerTable, loop: EventLoop
    ) {
        self.node = node
        self.peer = peer
        left = count
        self.conversation = conversation
        self.peers = peers
        self.loop = loop
        timer = LoopTimer(loop: loop, delegate: self)
    }

    func next() {
        guard let conversation else { return }
        guard left > 0 else {
            conversation.end()
            return stop()
        }
        guard peer.tunnel != nil else {
            conversation.refuse(.unavailable("the tunnel to \(node) has ended"))
            return stop()
        }
        left -= 1
        number += 1
        isWaiting = true
        let number = number
        peers.ping(peer) { [weak self] time in self?.answered(number, time) }
        timer?.arm(after: left > 0 ? Self.interval : Self.interval * 5)
    }

    private func answered(_ number: Int, _ time: Duration) {
        guard isWaiting, number == self.number, let conversation else { return }
        isWaiting = false
        let way = peers.way(of: peer)
        let relay = peers.relayRoundTrip.map { ", to the relay \($0.inMilliseconds)" } ?? ""
        let place = way.leadsThroughRelay ? relay : peer.directAddress.map { " (\($0))" } ?? ""
        conversation.send("\(node) (\(peer.remote)): \(number): \(time.inMilliseconds) through \(way)\(place)\n")
        if left == 0 { next() }
    }

    func timerFired(_ timer: LoopTimer) {
        if isWaiting { conversation?.send("\(node): \(number): no answer\n") }
        isWaiting = false
        next()
    }

    func stop() {
        conversation = nil
        timer?.close()
        timer = nil
    }
}

extension Duration {
    /// Milliseconds with three places.
    fileprivate var inMilliseconds: String {
        let microseconds = max(0, Int64(self / .microseconds(1)))
        let rest = String(microseconds % 1_000)
        return "\(microseconds / 1_000).\(String(repeating: "0", count: 3 - rest.count))\(rest) ms"
    }
}

/// A node as it is told of.
private struct ListedNode {
    let node: NodeID
    let name: String
    /// Whether it is connected to the relay; nil where the relay does not say.
    let isHere: Bool?

    init(_ node: NodeNames.Node) { (self.node, name, isHere) = (node.node, node.name, node.isHere) }

    init(_ node: NodeID, name: String) { (self.node, self.name, isHere) = (node, name, nil) }

    var id: TransportID { TransportID(node.transportAddress) }
}

extension PeerTable {
    fileprivate var relayRoundTrip: Duration? { relay?.tunnel?.roundTripTime }

    /// The nodes with which there is a tunnel.
    fileprivate var withTunnels: [ListedNode] {
        active.compactMap { id, provider in
            provider.node.map { ListedNode($0, name: names(of: id).last ?? id.description) }
        }
    }

    fileprivate func text(of nodes: [ListedNode], json: Bool) -> String {
        let sorted = nodes.sorted { $0.name < $1.name }
        return json ? self.json(sorted) : sorted.map { line($0) + "\n" }.joined()
    }

    /// One node for people.
    private func line(_ node: ListedNode) -> String {
        let start = "\(node.name)  \(node.id)  "
        if node.id == local { return start + "this node" }
        guard let tunnel = tunnel(with: node.id) else {
            return start + (node.isHere == true ? "connected to the relay" : "not connected")
        }
        let time = tunnel.roundTripTime.map { ", \($0.inMilliseconds)" } ?? ""
        let away = node.isHere == false ? ", not connected to the relay" : ""
        return start + "tunnel through \(way(to: node.id))\(time), \(tunnel.streamCount) streams\(away)"
    }

    private func json(_ nodes: [ListedNode]) -> String {
        var json = JSONWriter()
        json.array { json in
            for node in nodes { write(node, to: &json) }
        }
        return json.text + "\n"
    }

    private func write(_ node: ListedNode, to json: inout JSONWriter) {
        let state = node.isHere.map { $0 ? "connected" : "away" } ?? "unknown"
        json.object { json in
            json.field("name", node.name)
            json.field("key", node.node.description)
            json.field("transport-id", node.id.description)
            json.field("state", node.id == local ? "this-node" : state)
            guard let tunnel = tunnel(with: node.id) else { return }
            json.field("path", way(to: node.id).word)
            json.field("streams", tunnel.streamCount)
            if let time = tunnel.roundTripTime { json.field("round-trip-seconds", time.inSeconds) }
        }
    }
}
