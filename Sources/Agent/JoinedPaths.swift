// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Cryptography
internal import EventLoop
internal import Identity
internal import Primitives
internal import Providers
internal import Redirection
internal import Tunneling

/// Connections with other nodes that the relay makes of two (tunnel protocol, "Joined connections"): where the nodes don't
/// reach each other directly, what they carry need not be sealed twice, nor opened and sealed by the relay.
///
/// The side that made the tunnel through the relay asks for one soon after, where there is no direct one; both then connect.
/// The tunnel stays as it is, for the next time.
final class JoinedPaths {
    /// What is known of a node with which there is a tunnel through the relay.
    private struct Peer {
        /// The one that is being made.
        var attempt: PeerProvider?
        /// When this side asks for one; nil where the other one does, or there is one.
        var nextTry: Instant?
        var lastTry: Instant?
        /// How long after a failure the next one comes.
        var wait = JoinedPaths.firstWait
    }

    private let loop: EventLoop
    private unowned let peers: PeerTable
    private var known: [TransportID: Peer] = [:]
    private var isClosed = false
    /// Where the relay is that this node has a session with, and whether it joins connections; nil without a session.
    var relay: (addresses: [HostAndPort], key: NodeID, isAble: Bool)?

    /// A direct path has this long to come first.
    private static let courtesy: Duration = .milliseconds(300)
    private static let firstWait: Duration = .seconds(30)
    private static let longestWait: Duration = .seconds(600)
    /// Between two with one node, whatever it asks for.
    private static let pause: Duration = .seconds(1)

    init(loop: EventLoop, peers: PeerTable) {
        self.loop = loop
        self.peers = peers
    }

    /// Makes no more; those that there are stay.
    func close() { isClosed = true }

    // MARK: Tunnels come and go

    func tunnelActive(_ provider: PeerProvider, on way: PeerWay) {
        let id = provider.remote
        switch way {
        case .relay:
            guard provider.isDialing, provider.tunnel?.peerCapabilities.contains(.joining) == true else { return }
            known[id, default: Peer()].nextTry = known[id]?.nextTry ?? loop.now + Self.courtesy
        case .joined:
            known[id]?.attempt = nil
            known[id]?.wait = Self.firstWait
        case .direct, .provider: break
        }
    }

    func tunnelEnded(_ provider: PeerProvider, on way: PeerWay, wasActive: Bool) {
        let id = provider.remote
        switch way {
        case .relay where peers.tunnels(with: id, on: .relay).isEmpty: known[id] = nil
        case .joined where known[id]?.attempt === provider || wasActive: tryLater(id, wasActive: wasActive)
        case .relay, .joined, .direct, .provider: break
        }
    }

    private func tryLater(_ id: TransportID, wasActive: Bool) {
        guard let peer = known[id] else { return }
        known[id]?.attempt = nil
        guard dialedTunnel(with: id) != nil, peers.tunnels(with: id, on: .joined).isEmpty else { return }
        known[id]?.nextTry = loop.now + (wasActive ? Self.pause : peer.wait)
        if !wasActive { known[id]?.wait = min(peer.wait * 2, Self.longestWait) }
    }

    /// The tunnel through the relay that this side has made.
    private func dialedTunnel(with id: TransportID) -> PeerProvider? {
        peers.tunnels(with: id, on: .relay).first { $0.isDialing }
    }

    // MARK: Making

    private func ask(_ id: TransportID) {
        guard let peer = known[id], peer.attempt == nil, let nextTry = peer.nextTry, nextTry <= loop.now,
            !isClosed, !peers.isRelayStopping, relay?.isAble == true, peers.tunnels(with: id, on: .direct).isEmpty
        else { return }
        known[id]?.nextTry = nil
        guard peers.tunnels(with: id, on: .joined).isEmpty, let provider = dialedTunnel(with: id) else { return }
        let meet = Meet(
            token: SecureRandom.bytes(Meet.tokenLength), secret: SecureRandom.bytes(Meet.secretLength))
        provider.tunnel?.meet(meet)
        join(meet, agreedIn: provider, isDialing: true)
    }

    /// The other node is on its way to the relay.
    func received(_ meet: Meet, from provider: PeerProvider) {
        let id = provider.remote
        guard !isClosed, !provider.isDialing, relay != nil, known[id]?.attempt == nil else { return }
        if let last = known[id]?.lastTry, loop.now - last < Self.pause { return }
        known[id, default: Peer()].lastTry = loop.now
        join(meet, agreedIn: provider, isDialing: false)
    }

    private func join(_ meet: Meet, agreedIn tunnel: PeerProvider, isDialing: Bool) {
        guard let relay, let node = tunnel.node, let suite = tunnel.carrier?.cipherSuite else { return }
        let id = tunnel.remote
        let path = JoinedPath(
            addresses: relay.addresses, relay: relay.key, node: node, meet: meet, suite: suite)
        let provider = PeerProvider(
            loop: loop, configuration: peers.configuration, joining: path, isDialing: isDialing)
        provider.nodeName = tunnel.nodeName
        known[id]?.attempt = provider
        do throws(RouteFailure) {
            try peers.start(provider, on: .joined)
        } catch {
            tryLater(id, wasActive: false)
        }
    }

    /// Call it every second or so.
    func sweep() {
        for id in Array(known.keys) {
            ask(id)
            leaveIfNeedless(id)
        }
    }

    /// Where there is a direct path nothing new goes through the relay.
    private func leaveIfNeedless(_ id: TransportID) {
        guard !peers.tunnels(with: id, on: .direct).isEmpty else { return }
        for provider in peers.tunnels(with: id, on: .joined) where provider.isDialing {
            guard provider.tunnel?.streamCount == 0 else { continue }
            provider.leave("there is a direct path")
        }
    }
}
