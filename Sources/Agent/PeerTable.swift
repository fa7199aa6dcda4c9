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
        /// What carries the tunnel.
        let way: PeerWay
        /// Who waits for it, where this side makes it.
        let wanted: WantedTunnel?
    }

    private(set) var peers: [ObjectIdentifier: Peer] = [:]
    /// The one that is used, of those with a node that are active.
    private(set) var active: [TransportID: PeerProvider] = [:]
    var configuration: PeerConfiguration
    /// The session through which others are reached.
    weak var relay: RelayProvider? {
        didSet { isRelayStopping = false }
    }
    /// The relay waits for what goes through it.
    private(set) var isRelayStopping = false
    /// Other providers, through which they may be reached too.
    weak var external: ExternalProviders?
    /// Connections that need no relay.
    weak var direct: DirectPaths?
    /// Connections that the relay makes of two.
    weak var joined: JoinedPaths?
    /// Is told of nodes with which there is a direct or a joined connection from here on.
    var onShorterWay: (TransportID) -> Void = { _ in }
    /// Which way is tried first.
    var prefer = ProviderSettings.Way.provider
    let links: PacketLinks
    /// Providers that have become active since the last sweep.
    private var newcomers: [ProviderInstance] = []
    /// Ways that are still to be tried, for the tunnels that are being made.
    private var untried: [WantedTunnel: ArraySlice<PeerWay>] = [:]
    private let loop: EventLoop
    /// Keeps this table, through its acceptor.
    private unowned let platform: Platform
    let names: NodeNames
    private let logger: Logger
    private let sampler: LogSampler
    /// Who waits for a session that is being made.
    private var waiting: [WantedTunnel: [(Result<PeerProvider, RouteFailure>) -> Void]] = [:]
    private var pings: [ObjectIdentifier: [(Duration) -> Void]] = [:]

    /// Tunnels at once, with those that are being made.
    private static let mostPeers = 1_000
    /// Of them with one node: each carries any number of streams.
    static let mostPeersOfANode = 6
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

    /// The session with a node: one that there is, or a new one, on a way that somebody's sockets may use. Where there is
    /// another way, and no other, the failure is ``EndpointResetCode/notAllowed``.
    func session(
        with id: TransportID, for applicant: Applicant,
        _ completion: @escaping (Result<PeerProvider, RouteFailure>) -> Void
    ) {
        guard id != local else {
            return completion(.failure(RouteFailure(.notAllowed, "\(id) is this node itself")))
        }
        if let provider = tunnel(with: id, for: applicant) { return completion(.success(provider)) }
        let wanted = WantedTunnel(id: id, ways: external?.ways(for: applicant, preferring: prefer) ?? [.relay])
        waiting[wanted, default: []].append(explaining(completion, id, closed: external?.closed(to: applicant) ?? []))
        guard waiting[wanted]?.count == 1 else { return }
        untried[wanted] = wanted.ways[...]
        tryNextWay(wanted, or: .noRelay)
    }

    /// Of the tunnels with a node the one on the way that is tried first; of two on one way the one that came last.
    private func tunnel(with id: TransportID, for applicant: Applicant) -> PeerProvider? {
        guard let best = active[id] else { return nil }
        guard let external, !external.active.isEmpty else { return best }
        for way in external.ways(for: applicant, preferring: prefer) {
            // Who may go through the relay may go without it.
            for way in way == .relay ? [.direct, .joined, .relay] : [way] {
                if self.way(of: best) == way { return best }
                if let found = tunnels(with: id, on: way).first { return found }
            }
        }
        return nil
    }

    /// A failure is told as what it is where a provider that reaches the node, or has not said otherwise, is closed to who asks.
    private func explaining(
        _ completion: @escaping (Result<PeerProvider, RouteFailure>) -> Void, _ id: TransportID,
        closed: [ProviderInstance]
    ) -> (Result<PeerProvider, RouteFailure>) -> Void {
        guard !closed.isEmpty else { return completion }
        return { [loop, local, unowned platform] result in
            let reaching = closed.first { instance in
                if case .unreachable = platform.reach(id, from: local, over: instance, now: loop.now) { return false }
                return true
            }
            guard case .failure(let failure) = result, let reaching else { return completion(result) }
            let text =
                "\(failure); \(reaching.name) may not be used by whose socket this is: its sddl does not list him"
            completion(.failure(RouteFailure(.notAllowed, text)))
        }
    }

    /// Tries the ways one after another; `failure` is what the one before has ended with.
    private func tryNextWay(_ wanted: WantedTunnel, or failure: RouteFailure) {
        guard waiting[wanted] != nil else { return }
        var failure = failure
        while let way = untried[wanted]?.popFirst() {
            do throws(RouteFailure) {
                switch way {
                case .relay: try dial(wanted)
                case .direct, .joined: continue
                case .provider(let instance): try dial(wanted, over: instance)
                }
                return
            } catch { failure = error }
        }
        tell(wanted, .failure(failure))
    }

    private func dial(_ wanted: WantedTunnel, over instance: ProviderInstance) throws(RouteFailure) {
        let id = wanted.id
        let transport: PacketTransport
        do throws(PlatformError) {
            transport = try links.connect(to: id, over: instance)
        } catch {
            throw RouteFailure(EndpointResetCode(error), "\(id): \(error)")
        }
        try start(
            PeerProvider(loop: loop, remote: id, configuration: configuration, over: transport, isDialing: true),
            on: .provider(instance), for: wanted)
    }

    /// Makes a tunnel through the relay.
    func dial(_ wanted: WantedTunnel) throws(RouteFailure) {
        guard let relay, let over = relay.instance, over.state == .active else { throw .noRelay }
        let loop = self.loop
        let (local, relayID, id) = (self.local, relay.remote, wanted.id)
        let provider = PeerProvider(loop: loop, remote: id, configuration: configuration) {
            [unowned platform] application throws(PlatformError) in
            try platform.openEndpoint(
                kind: .stream, from: local, to: relayID,
                destination: EndpointDestination(port: 0, address: id.address), over: over, application: application,
                now: loop.now)
        }
        try start(provider, on: .relay, for: wanted)
    }

    /// Begins a session for a tunnel that is being made, by either side.
    func start(
        _ provider: PeerProvider, on way: PeerWay, for wanted: WantedTunnel? = nil
    ) throws(RouteFailure) {
        guard peers.count < Self.mostPeers else {
            throw RouteFailure(.limit, "there are \(Self.mostPeers) tunnels to other nodes already")
        }
        guard peers.values.count(where: { $0.provider.remote == provider.remote }) < Self.mostPeersOfANode else {
            throw RouteFailure(.limit, "there are \(Self.mostPeersOfANode) tunnels with \(provider.remote) already")
        }
        let key = ObjectIdentifier(provider)
        peers[key] = Peer(provider: provider, since: loop.now, usedAt: loop.now, way: way, wanted: wanted)
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
            try start(provider, on: .relay)
            return nil
        } catch {
            sampler.log(
                .warning, kind: "peer", now: loop.now, "a node's tunnel is not taken", metadata: ["why": "\(error)"])
            return error.code
        }
    }

    // MARK: Upkeep

    /// Measures how long a node takes to answer.
    func ping(_ provider: PeerProvider, _ completion: @escaping (Duration) -> Void) {
        let key = ObjectIdentifier(provider)
        guard peers[key] != nil else { return }
        pings[key, default: []].append(completion)
        peers[key]?.usedAt = loop.now
        provider.tunnel?.measureRoundTrip(now: loop.now)
    }

    /// A provider is active: nodes with which there is a tunnel have one over it too, soon, where it is to be preferred and
    /// reaches them.
    func providerCame(_ instance: ProviderInstance) {
        if prefer == .provider { newcomers.append(instance) }
    }

    private func meetNewcomers() {
        let came = newcomers.filter { $0.state == .active }
        newcomers = []
        for instance in came {
            for id in active.keys where tunnels(with: id, on: .provider(instance)).isEmpty {
                // One that it does not reach stays where it is.
                try? dial(WantedTunnel(id: id, ways: [.provider(instance)]), over: instance)
            }
        }
    }

    /// Ends what nobody has used for a while.
    func sweep() {
        meetNewcomers()
        if isRelayStopping { leaveRelay() }
        for (key, peer) in peers where peer.isActive && (peer.provider.tunnel?.streamCount ?? 0) > 0 {
            peers[key]?.usedAt = loop.now
        }
        for (key, peer) in peers where peer.isActive && peer.provider.isDialing && !isUsed(peer) && peers[key] != nil {
            leaveUnused(peer)
        }
    }

    /// With a direct or a joined tunnel, or the one through the relay, all of these end, whoever has made them: none is left that the
    /// relay has no say in.
    private func leaveUnused(_ peer: Peer) {
        let id = peer.provider.remote
        var unused = [peer.provider]
        if peer.way.isOfRelay {
            direct?.forget(id)
            unused = tunnels(with: id, on: .direct) + tunnels(with: id, on: .joined) + tunnels(with: id, on: .relay)
        }
        for provider in unused { provider.leave("nothing was carried for a while") }
    }

    /// A direct or joined tunnel and the one through the relay, which stands for the relay's consent, stay and go together.
    private func isUsed(_ peer: Peer) -> Bool {
        guard loop.now - peer.usedAt >= Self.idleTime else { return true }
        return peer.way.isOfRelay
            && peers.values.contains {
                $0.provider.remote == peer.provider.remote && $0.way.isOfRelay
                    && loop.now - $0.usedAt < Self.idleTime
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
        for peer in peers.values where peer.way.leadsThroughRelay && peer.provider.tunnel?.hasByteStreams != true {
            peer.provider.leave("the relay is stopping")
        }
    }

    /// The tunnel that is used with a node from here on by whom all ways are open to: on the best way, and there the newest.
    private func choose(_ id: TransportID) {
        let all = tunnels(with: id)
        let best = all.map(way).min { rank($0) < rank($1) }
        active[id] = all.first { way(of: $0) == best }
    }

    private func rank(_ way: PeerWay) -> Int {
        switch way {
        case .provider: prefer == .provider ? 0 : 4
        case .direct: 1
        case .joined: 2
        case .relay: 3
        }
    }

    private func tell(_ wanted: WantedTunnel, _ result: Result<PeerProvider, RouteFailure>) {
        untried[wanted] = nil
        for completion in waiting.removeValue(forKey: wanted) ?? [] { completion(result) }
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
                "over": "\(peers[key]?.way ?? .relay)",
            ])
        choose(provider.remote)
        if let way = peers[key]?.way {
            let served = waiting.keys.filter {
                $0.id == provider.remote && $0.ways.contains(way.isOfRelay ? .relay : way)
            }
            for wanted in served { tell(wanted, .success(provider)) }
        }
        defer {
            let way = way(of: provider)
            direct?.tunnelActive(provider, on: way)
            joined?.tunnelActive(provider, on: way)
            if way == .direct || way == .joined { onShorterWay(provider.remote) }
        }
        // A name is for people here: who the node is was proven by its key.
        guard provider.isDialing, let node = provider.node else { return }
        names.name(of: node) { provider.nodeName = $0 ?? "" }
    }

    func peerProvider(_ provider: PeerProvider, measuredRoundTrip time: Duration) {
        let key = ObjectIdentifier(provider)
        peers[key]?.roundTrip = time
        for completion in pings.removeValue(forKey: key) ?? [] { completion(time) }
    }

    func peerProvider(_ provider: PeerProvider, received signal: Signal) {
        if way(of: provider) == .relay { direct?.received(signal, from: provider) }
    }

    func peerProvider(_ provider: PeerProvider, received meet: Meet) {
        if way(of: provider) == .relay { joined?.received(meet, from: provider) }
    }

    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String) {
        let key = ObjectIdentifier(provider)
        let wasActive = peers[key]?.isActive == true
        let wanted = peers[key]?.wanted
        let way = way(of: provider)
        peers[key] = nil
        pings[key] = nil
        if active[provider.remote] === provider { choose(provider.remote) }
        defer {
            direct?.tunnelEnded(provider, on: way, wasActive: wasActive, reason)
            joined?.tunnelEnded(provider, on: way, wasActive: wasActive)
        }
        names.forget(provider.remote)
        guard let wanted, !wasActive else { return }
        let code: EndpointResetCode = reason == .providerTimeout ? .timedOut : .unreachable
        tryNextWay(wanted, or: RouteFailure(code, "\(provider.remote): \(message)"))
    }
}

extension PeerTable: PacketLinksDelegate {
    /// Another node's tunnel comes, over packets of a provider.
    func packetLinks(_ links: PacketLinks, accepts transport: PacketTransport, from remote: TransportID) -> Bool {
        guard let instance = transport.instance else { return false }
        do throws(RouteFailure) {
            try start(
                PeerProvider(
                    loop: loop, remote: remote, configuration: configuration, over: transport, isDialing: false),
                on: .provider(instance))
            return true
        } catch {
            sampler.log(
                .warning, kind: "peer", now: loop.now, "a node's tunnel is not taken", metadata: ["why": "\(error)"])
            return false
        }
    }
}
