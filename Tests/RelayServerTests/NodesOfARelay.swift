// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// A node that takes tunnels of others, and makes them.
final class Peer: EndpointAcceptor, PeerProviderDelegate {
    let agent: TestAgent
    let acceptor = TestAcceptor()
    private(set) var providers: [PeerProvider] = []
    private(set) var identified: [NodeID] = []
    private(set) var ends: [(reason: SessionTerminationReason, message: String)] = []
    private(set) var active = 0
    private(set) var meetings: [Meet] = []
    /// Where set, the tunnels of others are not taken, and this is why.
    var refusal: String?
    private let loop: EventLoop
    private let configuration: PeerConfiguration

    /// - Parameter key: the key that is shown to other nodes.
    init(_ agent: TestAgent, on loop: EventLoop, showing key: TestNode? = nil) throws {
        self.agent = agent
        self.loop = loop
        let shown = key ?? agent.node
        configuration = PeerConfiguration(
            node: agent.node.id, nodeName: "whoever", clientContext: try shown.context(.client),
            serverContext: try shown.context(.server), limits: TunnelLimits(), handshakeTimeout: .seconds(30))
        agent.platform.acceptor = self
    }

    var id: TransportID { TransportID(agent.node.id.transportAddress) }

    func dial(_ remote: TransportID) throws -> PeerProvider {
        let (platform, loop, local) = (agent.platform, loop, id)
        let (over, relay) = (try #require(agent.instance), agent.provider.remote)
        let provider = PeerProvider(loop: loop, remote: remote, configuration: configuration) {
            application throws(PlatformError) in
            try platform.openEndpoint(
                kind: .stream, from: local, to: relay,
                destination: EndpointDestination(port: 0, address: remote.address), over: over,
                application: application, now: loop.now)
        }
        try start(provider)
        return provider
    }

    /// A connection of its own to the relay, to be joined with another node's.
    func join(_ path: JoinedPath, isDialing: Bool) throws -> PeerProvider {
        let provider = PeerProvider(loop: loop, configuration: configuration, joining: path, isDialing: isDialing)
        try start(provider)
        return provider
    }

    private func start(_ provider: PeerProvider) throws {
        providers.append(provider)
        provider.delegate = self
        let instance = try agent.platform.createInstance(provider: provider, name: "peer")
        try instance.register(now: loop.now)
        try instance.begin(transportIDs: [id], now: loop.now)
    }

    /// An endpoint to the other node's acceptor.
    func open(_ provider: PeerProvider, kind: Endpoint.Kind = .stream) throws -> TestApplication {
        let application = TestApplication()
        let endpoint = try agent.platform.openEndpoint(
            kind: kind, from: id, to: provider.remote, destination: EndpointDestination(port: 22),
            over: provider.instance, application: application, now: loop.now)
        application.adopt(endpoint)
        return application
    }

    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        guard endpoint.destination.port == 0, let source = endpoint.source else {
            return acceptor.platform(platform, accepts: endpoint)
        }
        let provider = PeerProvider(
            loop: loop, remote: TransportID(source.ip), configuration: configuration, accepting: endpoint)
        do { try start(provider) } catch { return .internalError }
        return nil
    }

    func peerProvider(_ provider: PeerProvider, identified node: NodeID) {
        identified.append(node)
        if let refusal { provider.refuse(refusal) } else { provider.admit() }
    }
    func peerProviderActive(_ provider: PeerProvider) { active += 1 }
    func peerProvider(_ provider: PeerProvider, measuredRoundTrip time: Duration) {}
    func peerProvider(_ provider: PeerProvider, received signal: Signal) {}
    func peerProvider(_ provider: PeerProvider, received meet: Meet) { meetings.append(meet) }
    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String) {
        ends.append((reason, message))
    }
}

/// Two nodes of one relay, all on one loop.
final class NodesOfARelay {
    let site: RelaySite
    let laptop: Peer
    let home: Peer

    init(homeShows key: TestNode? = nil) throws {
        site = try RelaySite()
        laptop = try Peer(try site.join("laptop"), on: site.loop)
        home = try Peer(try site.join("home"), on: site.loop, showing: key)
    }

    func connect() throws -> PeerProvider {
        let provider = try laptop.dial(home.id)
        try site.runner.run("a session between the nodes") { self.laptop.active == 1 && self.home.active == 1 }
        return provider
    }

    func end() {
        for peer in [laptop, home] {
            peer.acceptor.clear()
            peer.agent.platform.shutdown(now: site.loop.now)
            peer.agent.platform.acceptor = nil
        }
        site.runner.settle()
        site.end()
    }
}

/// Sends a pattern as fast as there is room for it.
final class Sender {
    private let application: TestApplication
    private let loop: EventLoop
    private let pattern: Pattern
    private let total: Int
    private var sent = 0

    init(_ application: TestApplication, loop: EventLoop, pattern: Pattern, total: Int) {
        self.application = application
        self.loop = loop
        self.pattern = pattern
        self.total = total
    }

    func pump() {
        while sent < total, let endpoint = application.endpoint, endpoint.sendRoom > 0 {
            let count = min(60_000, total - sent)
            endpoint.send(pattern.slice(at: sent, count: count, from: loop.buffers))
            sent += count
        }
    }
}
