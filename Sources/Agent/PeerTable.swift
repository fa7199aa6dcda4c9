// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Settings
internal import Telemetry
internal import Tunneling

/// The tunnels between this node and others: made when something is to go there, and ended when nothing has for a while.
///
/// Where two nodes make one towards each other at the same time there are two, and each serves.
final class PeerTable {
    struct Peer {
        let provider: PeerProvider
        let since: Instant
        /// When it carried something last.
        var usedAt: Instant
        var isActive = false
        var roundTrip: Duration?
        /// What carries the tunnel, where it is not the relay.
        var carrier: String?
    }

    /// A way on which a tunnel can be made.
    private enum Way {
        case relay
        case provider(ProviderInstance)
    }

    private(set) var peers: [ObjectIdentifier: Peer] = [:]
    /// The one that is used, of those with a node that are active.
    private var active: [TransportID: PeerProvider] = [:]
    var configuration: PeerConfiguration
    /// The session through which others are reached.
    weak var relay: RelayProvider? {
        didSet { isRelayStopping = false }
    }
    /// The relay waits for what goes through it.
    private var isRelayStopping = false
    /// Other providers, through which they may be reached too.
    weak var external: ExternalProviders?
    /// Which way is tried first.
    var prefer = ProviderSettings.Way.provider
    let links: PacketLinks
    /// Ways that are still to be tried, for the tunnels that are being made.
    private var ways: [TransportID: [Way]] = [:]
    private let loop: EventLoop
    /// Keeps this table, through its acceptor.
    private unowned let platform: Platform
    private let names: NodeNames
    private let logger: Logger
    private let sampler: LogSampler
    /// Who waits for a session that is being made.
    private var waiting: [TransportID: [(Result<PeerProvider, RouteFailure>) -> Void]] = [:]
    private var pings: [ObjectIdentifier: [(Duration) -> Void]] = [:]

    /// Tunnels at once, with those that are being made.
    private static let mostPeers = 1_000
    /// Of them with one node: each carries any number of streams.
    private static let mostPeersOfANode = 4
    /// A tunnel that carries nothing for so long is ended by the side that made it.
    private static let idleTime: Duration = .seconds(300)

    init(
        loop: EventLoop, platform: Platform, configuration: PeerConfiguration, names: NodeNames, logger: Logger,
        sampler: LogSampler
    ) {
        self.loop = loop
        self.platform = platform
        self.configuration = configuration
        self.names = names
        self.logger = logger
        self.sampler = sampler
        links = PacketLinks(
            loop: loop, platform: platform, local: TransportID(configuration.node.transportAddress))
        links.delegate = self
    }

    var local: TransportID { TransportID(configuration.node.transportAddress) }

    // MARK: Making

    /// The session with a node: the one that there is, or a new one.
    func session(
        with id: TransportID, _ completion: @escaping (Result<PeerProvider, RouteFailure>) -> Void
    ) {
        guard id != local else {
            return completion(.failure(RouteFailure(.notAllowed, "\(id) is this node itself")))
        }
        if let provider = active[id] { return completion(.success(provider)) }
        waiting[id, default: []].append(completion)
        guard waiting[id]?.count == 1 else { return }
        let providers = external?.active.map { Way.provider($0) } ?? []
        ways[id] = prefer == .provider ? providers + [.relay] : [.relay] + providers
        tryNextWay(to: id, or: .noRelay)
    }

    /// Tries the ways one after another; `failure` is what the one before has ended with.
    private func tryNextWay(to id: TransportID, or failure: RouteFailure) {
        var failure = failure
        while let way = ways[id]?.first {
            ways[id]?.removeFirst()
            do throws(RouteFailure) {
                switch way {
                case .relay: try dial(id)
                case .provider(let instance): try dial(id, over: instance)
                }
                return
            } catch { failure = error }
        }
        tell(id, .failure(failure))
    }

    private func dial(_ id: TransportID, over instance: ProviderInstance) throws(RouteFailure) {
        let transport: PacketTransport
        do throws(PlatformError) {
            transport = try links.connect(to: id, over: instance)
        } catch {
            throw RouteFailure(EndpointResetCode(error), "\(id): \(error)")
        }
        try start(
            PeerProvider(loop: loop, remote: id, configuration: configuration, over: transport, isDialing: true),
            carrier: instance.name)
    }

    private func dial(_ id: TransportID) throws(RouteFailure) {
        guard let relay, let over = relay.instance, over.state == .active else { throw .noRelay }
        let loop = self.loop
        let (local, relayID) = (self.local, relay.remote)
        let provider = PeerProvider(loop: loop, remote: id, configuration: configuration) {
            [unowned platform] application throws(PlatformError) in
            try platform.openEndpoint(
                kind: .stream, from: local, to: relayID,
                destination: EndpointDestination(port: 0, address: id.address), over: over, application: application,
                now: loop.now)
        }
        try start(provider)
    }

    private func start(_ provider: PeerProvider, carrier: String? = nil) throws(RouteFailure) {
        guard peers.count < Self.mostPeers else {
            throw RouteFailure(.limit, "there are \(Self.mostPeers) tunnels to other nodes already")
        }
        guard peers.values.count(where: { $0.provider.remote == provider.remote }) < Self.mostPeersOfANode else {
            throw RouteFailure(.limit, "there are \(Self.mostPeersOfANode) tunnels with \(provider.remote) already")
        }
        let key = ObjectIdentifier(provider)
        peers[key] = Peer(provider: provider, since: loop.now, usedAt: loop.now, carrier: carrier)
        provider.delegate = self
        do throws(PlatformError) {
            let instance = try platform.createInstance(
                provider: provider, name: "node/\(provider.remote)", preference: 1)
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [local], now: loop.now)
        } catch {
            peers[key] = nil
            throw RouteFailure(EndpointResetCode(error), "no tunnel can be made to \(provider.remote): \(error)")
        }
    }

    /// Another node's tunnel comes, as a stream through the relay.
    func accept(_ endpoint: Endpoint) -> EndpointResetCode? {
        guard let source = endpoint.source?.ip, source.isORCHID, source != local.address else { return .notAllowed }
        let provider = PeerProvider(
            loop: loop, remote: TransportID(source), configuration: configuration, accepting: endpoint)
        do throws(RouteFailure) {
            try start(provider)
            return nil
        } catch {
            sampler.log(
                .warning, kind: "peer", now: loop.now, "a node's tunnel is not taken", metadata: ["why": "\(error)"])
            return error.code
        }
    }

    // MARK: Asking about them

    /// All by which a node is known here; the last one is for people.
    func names(of id: TransportID) -> [String] {
        guard let provider = active[id], let node = provider.node else { return [] }
        let names = [id.description, node.description]
        return provider.nodeName.isEmpty ? names : names + [provider.nodeName]
    }

    /// Measures how long a node takes to answer.
    func ping(_ provider: PeerProvider, _ completion: @escaping (Duration) -> Void) {
        let key = ObjectIdentifier(provider)
        guard peers[key] != nil else { return }
        pings[key, default: []].append(completion)
        peers[key]?.usedAt = loop.now
        provider.tunnel?.measureRoundTrip(now: loop.now)
    }

    /// The tunnel that is used with a node, if there is one.
    func tunnel(with id: TransportID) -> Tunnel? { active[id]?.tunnel }

    /// The peer of a session, for the status.
    func peer(of instance: ProviderInstance) -> PeerProvider? {
        peers.values.first { $0.provider.instance === instance }?.provider
    }

    /// Ends what nobody has used for a while.
    func sweep() {
        if isRelayStopping { leaveRelay() }
        for (key, peer) in peers where peer.isActive {
            if (peer.provider.tunnel?.streamCount ?? 0) > 0 {
                peers[key]?.usedAt = loop.now
            } else if peer.provider.isDialing, loop.now - peer.usedAt >= Self.idleTime {
                peer.provider.leave("nothing was carried for a while")
            }
        }
    }

    /// The agent is stopping: tunnels end once they carry nothing. To be called again until none is left.
    func drain() {
        for peer in peers.values {
            guard let tunnel = peer.provider.tunnel, tunnel.hasByteStreams else {
                peer.provider.leave("the node is stopping")
                continue
            }
            if tunnel.state == .open { tunnel.goAway(GoAway(code: .shutdown, text: "the node is stopping")) }
        }
    }

    /// The relay is stopping and can't see which of the tunnels through it carry something: those that don't end, each of
    /// the others as soon as it doesn't.
    func relayIsStopping() {
        isRelayStopping = true
        leaveRelay()
    }

    private func leaveRelay() {
        for peer in peers.values where peer.carrier == nil && peer.provider.tunnel?.hasByteStreams != true {
            peer.provider.leave("the relay is stopping")
        }
    }

    /// Whether a tunnel carries anything that the agent waits for when it stops.
    var isBusy: Bool { peers.values.contains { $0.provider.tunnel?.hasByteStreams == true } }
    var streams: Int { peers.values.reduce(0) { $0 + ($1.provider.tunnel?.streamCount ?? 0) } }

    private func tell(_ id: TransportID, _ result: Result<PeerProvider, RouteFailure>) {
        ways[id] = nil
        for completion in waiting.removeValue(forKey: id) ?? [] { completion(result) }
    }
}

extension PeerTable: PeerProviderDelegate {
    /// Every node of this relay may have a tunnel; what it may reach here is decided stream by stream.
    func peerProvider(_ provider: PeerProvider, identified node: NodeID) {
        names.name(of: node) { name in
            guard let name else {
                return provider.refuse("neither the relay nor the list of known nodes says who this node is")
            }
            provider.nodeName = name
            provider.admit()
        }
    }

    func peerProviderActive(_ provider: PeerProvider) {
        let key = ObjectIdentifier(provider)
        peers[key]?.isActive = true
        peers[key]?.usedAt = loop.now
        logger.info(
            "a tunnel to another node is there",
            metadata: [
                "node": "\(provider.nodeName.isEmpty ? provider.remote.description : provider.nodeName)",
                "made-by": "\(provider.isDialing ? "this node" : "the other node")",
                "over": "\(peers[key]?.carrier ?? "the relay")",
            ])
        active[provider.remote] = provider
        tell(provider.remote, .success(provider))
        // A name is for people here: who the node is was proven by its key.
        guard provider.isDialing, let node = provider.node else { return }
        names.name(of: node) { provider.nodeName = $0 ?? "" }
    }

    func peerProvider(_ provider: PeerProvider, measuredRoundTrip time: Duration) {
        let key = ObjectIdentifier(provider)
        peers[key]?.roundTrip = time
        for completion in pings.removeValue(forKey: key) ?? [] { completion(time) }
    }

    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String) {
        let key = ObjectIdentifier(provider)
        let wasActive = peers[key]?.isActive == true
        peers[key] = nil
        pings[key] = nil
        if active[provider.remote] === provider {
            active[provider.remote] =
                peers.values.first { $0.isActive && $0.provider.remote == provider.remote }?.provider
        }
        names.forget(provider.remote)
        guard provider.isDialing, !wasActive else { return }
        let code: EndpointResetCode = reason == .providerTimeout ? .timedOut : .unreachable
        tryNextWay(to: provider.remote, or: RouteFailure(code, "\(provider.remote): \(message)"))
    }
}

extension PeerTable: PacketLinksDelegate {
    /// Another node's tunnel comes, over packets of a provider.
    func packetLinks(_ links: PacketLinks, accepts transport: PacketTransport, from remote: TransportID) -> Bool {
        do throws(RouteFailure) {
            try start(
                PeerProvider(
                    loop: loop, remote: remote, configuration: configuration, over: transport, isDialing: false),
                carrier: transport.providerName)
            return true
        } catch {
            sampler.log(
                .warning, kind: "peer", now: loop.now, "a node's tunnel is not taken", metadata: ["why": "\(error)"])
            return false
        }
    }
}
