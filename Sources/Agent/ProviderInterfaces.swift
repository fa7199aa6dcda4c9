// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Logging
internal import Primitives
internal import Redirection
internal import Settings
internal import Telemetry

/// The network interfaces of external providers: each instance that is registered has one, which outlives it, so that who
/// registers again with its LUID finds the same device. A node's packets leave by the interface of the preferred
/// provider that reaches it.
///
///     program ─▶ kernel ─▶ device ─▶ policy ─▶ link ── SEND_BUFFERS ──▶ provider
///     provider ── Indicate ──▶ policy ─▶ device ─▶ kernel ─▶ service
final class ProviderInterfaces {
    private var interfaces: [InterfaceLUID: ProviderInterface] = [:]
    /// Nodes that packets came from or were to go to, beside those that are known.
    private var seen: Set<TransportID> = []
    private var hasFailed = false
    private var isQueued = false
    private var isClosed = false
    private var timer: LoopTimer?
    private var refusals: TokenBucket

    private let loop: EventLoop
    private unowned let platform: Platform
    private let providers: ExternalProviders
    private let peers: PeerTable
    private let names: NodeNames
    private let served: ServedPorts
    private let router: AgentRouter
    private let settings: AgentSettings
    private let logger: Logger
    private let sampler: LogSampler

    /// Devices that nobody has, and which are kept for those who come back.
    private static let mostIdle = 16
    /// Nodes that providers are asked about.
    private static let mostNodes = 1_024
    private static let mostSeen = 256
    /// How often providers are asked about nodes that they did not reach.
    private static let interval: Duration = .seconds(5)
    /// How often is looked whether they have answered.
    private static let answerInterval: Duration = .milliseconds(20)
    /// Packets in a second that are answered where there is no interface.
    private static let refusalRate = 100.0

    init(
        loop: EventLoop, platform: Platform, providers: ExternalProviders, peers: PeerTable, names: NodeNames,
        served: ServedPorts, router: AgentRouter, settings: AgentSettings, logger: Logger, sampler: LogSampler
    ) {
        self.loop = loop
        self.platform = platform
        self.providers = providers
        self.peers = peers
        self.names = names
        self.served = served
        self.router = router
        self.settings = settings
        self.logger = logger
        self.sampler = sampler
        refusals = TokenBucket(rate: Self.refusalRate, burst: Self.refusalRate, now: loop.now)
    }

    private var isWanted: Bool { settings.providers.interfaces && !isClosed }

    /// The interface of an instance.
    func interface(of instance: ProviderInstance) -> ProviderInterface? {
        guard let luid = instance.interfaceLUID, let found = interfaces[luid], found.router.instance === instance
        else { return nil }
        return found
    }

    /// Takes all of them away.
    func close() {
        isClosed = true
        timer?.close()
        timer = nil
        for interface in interfaces.values { interface.close() }
        interfaces = [:]
    }

    // MARK: Instances

    /// An instance has come, has become active, or has gone.
    func changed(_ instance: ProviderInstance, to state: InstanceState) {
        guard isWanted, providers.isExternal(instance.name) else { return }
        if state == .registered { give(instance) }
        if state == .deregistered, let interface = interface(of: instance) {
            interface.router.instance = nil
            interface.idleSince = loop.now
            forgetIdle()
        }
        lookAgain()
    }

    /// Gives an instance its interface: the one that there is, or a new one.
    private func give(_ instance: ProviderInstance) {
        guard let luid = instance.interfaceLUID else { return }
        do throws(UVError) {
            let interface = if let found = interfaces[luid] { found } else { try make(luid) }
            interface.router.instance = instance
            interface.idleSince = nil
            interface.setAlias(instance.friendlyName)
            interfaces[luid] = interface
            hasFailed = false
            logger.notice(
                "a provider's interface is up",
                metadata: ["provider": "\(instance.name)", "name": "\(interface.adapter.name)", "luid": "\(luid)"])
        } catch {
            guard !hasFailed else { return }
            hasFailed = true
            let advice = error.isPermissionDenied ? "it takes CAP_NET_ADMIN" : ""
            logger.error(
                "a provider has no interface",
                metadata: ["provider": "\(instance.name)", "error": "\(error)", "advice": "\(advice)"])
        }
    }

    private func make(_ luid: InterfaceLUID) throws(UVError) -> ProviderInterface {
        let way = InstanceRouter(loop: loop, platform: platform, providers: providers, local: peers.local) {
            [peers, names] node in
            let proven = peers.names(of: node)
            return proven.isEmpty ? names.names(of: node) : proven
        }
        way.onDemand = { [weak self] in self?.see($0) }
        let interface = try ProviderInterface(
            for: luid, loop: loop, address: peers.local.address, served: served, router: way,
            names: AdapterNames(loop: loop, suffix: settings.nameSuffix, finder: router, log: sampler),
            flowTimeout: settings.timeouts.udpFlow, log: sampler)
        interface.adapter.onFailure = { [weak self] error in self?.failed(luid, error) }
        return interface
    }

    /// Somebody has removed the device: it is made anew as soon as it is looked for.
    private func failed(_ luid: InterfaceLUID, _ error: UVError) {
        interfaces[luid] = nil
        logger.warning("a provider's interface is gone", metadata: ["luid": "\(luid)", "error": "\(error)"])
    }

    private func forgetIdle() {
        let idle = interfaces.values.filter { $0.router.instance == nil }
        guard idle.count > Self.mostIdle else { return }
        let oldest = idle.min { ($0.idleSince ?? loop.now) < ($1.idleSince ?? loop.now) }
        guard let oldest else { return }
        oldest.close()
        interfaces[oldest.luid] = nil
    }

    // MARK: Who is reached by which

    private func see(_ node: TransportID) {
        guard node.address.isORCHID, node != peers.local, seen.count < Self.mostSeen else { return }
        if seen.insert(node).inserted { lookAgain() }
    }

    private func lookAgain() {
        guard !isQueued else { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    /// Asks who reaches the nodes, and leads their packets there.
    /// - Returns: whether somebody is still to answer.
    private func look() -> Bool {
        let active = providers.active.compactMap { instance in interface(of: instance).map { (instance, $0) } }
        var nodes = seen
        for node in names.knownIDs where nodes.count < Self.mostNodes && node != peers.local { nodes.insert(node) }
        var routes: [InterfaceLUID: Set<TransportID>] = [:]
        var isAsking = false
        for node in nodes {
            for (instance, interface) in active {
                let answer = platform.reach(node, from: peers.local, over: instance, now: loop.now)
                if case .unreachable = answer { continue }
                if case .asking = answer {
                    isAsking = true
                    // What was holds until the provider says otherwise.
                    guard interface.routed.contains(node) else { continue }
                }
                routes[interface.luid, default: []].insert(node)
                break
            }
        }
        for interface in interfaces.values { interface.route(to: routes[interface.luid] ?? []) }
        return isAsking
    }

    private func update() {
        guard isWanted else { return }
        for instance in providers.active where interface(of: instance) == nil { give(instance) }
        let isAsking = look()
        for interface in interfaces.values {
            interface.release { [weak self] packet, remote in self?.receive(packet, from: remote, on: interface) }
        }
        timer = timer ?? LoopTimer(loop: loop, delegate: self)
        if !interfaces.isEmpty { timer?.arm(after: isAsking ? Self.answerInterval : Self.interval) }
    }

    private func receive(_ packet: RawSpan, from remote: TransportID, on interface: ProviderInterface) {
        if interface.routed.contains(remote) { return interface.adapter.receive(packet, from: remote) }
        guard let instance = interface.router.instance else { return }
        switch platform.reach(remote, from: peers.local, over: instance, now: loop.now) {
        case .reachable: interface.adapter.receive(packet, from: remote)
        case .asking: interface.hold(packet, from: remote)
        case .unreachable: interface.adapter.refuseSender()
        }
    }
}

extension ProviderInterfaces: TurnEndTask {
    func turnEnded() {
        isQueued = false
        update()
    }
}

extension ProviderInterfaces: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        // Those that nobody reaches are asked about when they are seen again.
        let routed = interfaces.values.reduce(into: Set<TransportID>()) { $0.formUnion($1.routed) }
        if seen.count > Self.mostSeen / 2 { seen.formIntersection(routed) }
        update()
    }
}

extension ProviderInterfaces: PacketReceiver {
    /// A packet that is the tunnel's of nobody. Where a node is not reached unambiguously it may be anybody's.
    func platform(
        _ platform: Platform, received packet: RawSpan, over instance: ProviderInstance, from remote: TransportID,
        to local: TransportID
    ) {
        guard local == peers.local else { return }
        guard let interface = interface(of: instance) else { return turnAway(packet, instance, remote) }
        if !interface.routed.contains(remote) { see(remote) }
        receive(packet, from: remote, on: interface)
    }

    /// The other node has such interfaces, and this one has none: its programs are told, instead of waiting.
    private func turnAway(_ packet: RawSpan, _ instance: ProviderInstance, _ remote: TransportID) {
        guard refusals.take(now: loop.now),
            let answer = PacketRefusal.answer(to: packet, of: remote.address, from: peers.local.address)
        else { return }
        providers.provider(of: instance)?.send(answer.rawSpan, luid: 0, from: peers.local, to: remote)
    }
}
