// SPDX-License-Identifier: Apache-2.0

public import Administration
public import ConnectivityPlatform
internal import Cryptography
public import EventLoop
internal import Identity
internal import Logging
public import Primitives
public import Providers
internal import Redirection
public import Settings
internal import TLS
public import Telemetry
public import Tunneling

/// The agent: settings become objects, the loop runs the platform with its providers, SIGHUP reads the settings anew,
/// SIGTERM drains.
public final class Agent {
    /// The application protocol of a carrier (RFC 7301).
    private static let alpn = "natfwt/1"
    /// The name of the relay's provider, in logs and status.
    static let relayName = "relay"

    var settings: AgentSettings
    let loop: EventLoop
    let key: NodeKey
    private let lock: ProgramLock
    let platform: Platform
    let services: ServiceDirectory
    let exposures: Exposures
    let names: NodeNames
    let peers: PeerTable
    let direct: DirectPaths
    let joined: JoinedPaths
    let served: ServedPorts
    let router: AgentRouter
    let waysIn: WaysIn
    let providers: ExternalProviders
    let interfaces: ProviderInterfaces
    let adapter: NodeAdapter
    private let questions: NodeQuestions
    let startedAt: Instant
    let logger: Logger
    private let sampler: LogSampler
    /// What the relay said when it last let this node in.
    var welcome: Welcome?
    var relayAddress: String?
    /// The session with the relay; nil while there is none.
    weak var relay: RelayProvider?
    /// Ends the program after the first refusal: for the quick way in the foreground.
    private let endsWhenRefused: Bool

    private let output: LogOutput
    private let reload: () throws(SettingsError) -> AgentSettings
    let context: TLSContext
    var supervisor: Supervisor?
    var factory: RelayFactory?
    private var control: ProgramControl?
    private var ticker: LoopTimer?
    private var platformTimer: LoopTimer?
    private var drainDeadline: Instant?
    private var isStopping = false
    /// What the last session ended with.
    private var lastEnd = ""
    /// The name of the settings that was told to be of no effect.
    private var toldName: String?
    private var status = ExitStatus.success

    private static let tick: Duration = .seconds(1)

    /// - Parameters:
    ///   - reload: reads the settings anew, for SIGHUP.
    ///   - endsWhenRefused: whether a relay that refuses this node, or a port, ends the program.
    public init(
        settings: AgentSettings, output: LogOutput, endsWhenRefused: Bool = false,
        reload: @escaping () throws(SettingsError) -> AgentSettings
    ) throws(StartFailure) {
        self.settings = settings
        self.output = output
        self.reload = reload
        self.endsWhenRefused = endsWhenRefused
        logger = output.logger("agent")
        sampler = LogSampler(logger)
        let key = try Agent.key(settings, logger)
        self.key = key
        lock = try ProgramLock(
            settings.key,
            problem: "another agent runs with this key: stop it first, or say in its settings what this one is to do")
        let loop = try StartFailure.unavailable { try EventLoop() }
        self.loop = loop
        context = try StartFailure.unavailable {
            try TLSContext(
                role: .client, certificateDER: NodeCertificate(key).der, privateKeyDER: key.privateKey.pkcs8DER,
                alpn: [Agent.alpn])
        }
        var configuration = PlatformConfiguration()
        configuration.limits.endpointsPerInstance = settings.limits.streams + settings.limits.flows
        let relay = try Agent.relayConfiguration(settings, key: key, context: context)
        configuration.deadlines.transitionActive = RelayProvider.patience(for: relay)
        platform = Platform(configuration: configuration, random: SecureRandom())
        services = ServiceDirectory(
            loop: loop,
            limits: ServiceLimits(
                connectTimeout: settings.timeouts.connect, flowTimeout: settings.timeouts.udpFlow,
                flows: settings.limits.flows, halfClosed: settings.timeouts.halfClosed), log: sampler)
        exposures = Exposures(services: services, logger: logger)
        served = ServedPorts(directory: services, log: sampler)
        let known = try StartFailure.configuration { () throws(KnownNodes.Failure) in
            try KnownNodes(path: settings.knownNodes)
        }
        names = NodeNames(loop: loop, known: known, suffix: settings.nameSuffix, logger: logger)
        peers = PeerTable(
            loop: loop, platform: platform,
            configuration: try Agent.peerConfiguration(settings, key: key, context: context), names: names,
            logger: logger, sampler: sampler)
        direct = DirectPaths(
            loop: loop, peers: peers, names: names, settings: settings.direct, logger: logger, sampler: sampler)
        joined = JoinedPaths(loop: loop, peers: peers)
        (peers.direct, peers.joined) = (direct, joined)
        router = AgentRouter(loop: loop, platform: platform, names: names, peers: peers)
        questions = NodeQuestions(loop: loop, names: names, peers: peers, router: router)
        waysIn = WaysIn(
            loop: loop, settings: settings, router: router, served: served, logger: logger, sampler: sampler)
        providers = ExternalProviders(
            loop: loop, platform: platform, settings: settings, local: peers.local, logger: logger)
        providers.receiver = peers.links
        peers.external = providers
        peers.prefer = settings.providers.prefer
        names.hasOtherWays = { [weak providers, weak peers] id in
            providers?.active.isEmpty == false || peers?.tunnels(with: id).isEmpty == false
        }
        interfaces = ProviderInterfaces(
            loop: loop, platform: platform, providers: providers, peers: peers, names: names, served: served,
            router: router, settings: settings, logger: logger, sampler: sampler)
        providers.interfaces = interfaces
        adapter = NodeAdapter(
            loop: loop, address: key.id.transportAddress, settings: settings, router: router, served: served,
            logger: logger, sampler: sampler)
        peers.onShorterWay = { [weak adapter] in adapter?.adapter?.takeAnotherWay(to: $0) }
        startedAt = loop.now
        exposures.apply(settings.expose)
        try makeSupervisor(relay)
    }

    /// The node's key. One is made for a node that is about to join; any other has lost its own, and with it its name.
    private static func key(_ settings: AgentSettings, _ logger: Logger) throws(StartFailure) -> NodeKey {
        if let key = try StartFailure.configuration({ () throws(NodeKeyError) in try NodeKey.loadIfThere(settings.key) }
        ) {
            return key
        }
        guard settings.invite != nil else {
            throw StartFailure(
                status: .configuration,
                message:
                    "\(settings.key): there is no such file; with a new key this is another node, which the relay has to "
                    + "invite: put the key back from a backup, or run natfwt join with a new invite")
        }
        let key = try StartFailure.configuration { try NodeKey.loadOrCreate(settings.key) }
        logger.notice("a new key is made", metadata: ["path": "\(settings.key)", "key": "\(key.id)"])
        return key
    }

    /// What this node brings to its tunnels with other nodes.
    private static func peerConfiguration(
        _ settings: AgentSettings, key: NodeKey, context: TLSContext
    ) throws(StartFailure) -> PeerConfiguration {
        let server = try StartFailure.unavailable {
            try TLSContext(
                role: .server, certificateDER: NodeCertificate(key).der, privateKeyDER: key.privateKey.pkcs8DER,
                alpn: [Agent.alpn])
        }
        return PeerConfiguration(
            node: key.id, nodeName: settings.name ?? "", clientContext: context, serverContext: server,
            limits: settings.tunnelLimits, handshakeTimeout: settings.timeouts.handshake)
    }

    /// Runs until it is told to stop.
    /// - Returns: the exit status.
    public func run() -> Int32 {
        platform.observer = self
        platform.packetReceiver = interfaces
        platform.acceptor = AgentAcceptor(services: services, served: served, peers: peers, adapter: adapter)
        let control = ProgramControl(loop: loop, path: settings.adminSocket, delegate: self, logger: logger)
        self.control = control
        control.start()
        tellOfSettings()
        ticker = LoopTimer(loop: loop, delegate: self)
        platformTimer = LoopTimer(loop: loop, delegate: self)
        ticker?.arm(after: Agent.tick)
        logger.notice(
            "the agent is starting", metadata: ["key": "\(key.id)", "ciphers": "\(TLSContext.cipherLibrary)"])
        supervisor?.start(now: loop.now)
        providers.open()
        waysIn.apply(settings)
        adapter.apply(settings)
        loop.run()
        logger.notice("the agent has stopped")
        return status.rawValue
    }

    /// What is not wrong with the settings, but will not do what is meant.
    private func tellOfSettings() {
        for warning in settings.warnings { logger.warning("\(warning)") }
        for name in providers.unknownUsers {
            logger.warning("providers.allow: this host knows no such user or group", metadata: ["name": "\(name)"])
        }
        if let obstacle = StateDirectory.obstacle(toReplacing: settings.knownNodes) {
            logger.warning(
                "known-nodes: the keys of nodes are forgotten when the agent ends, since the file can't be written",
                metadata: ["path": "\(settings.knownNodes)", "error": "\(obstacle)"])
        }
    }

    /// The name that counts is the one in the relay's registry.
    private func tellOfName(_ welcome: Welcome) {
        guard let name = settings.name, name != toldName, name.lowercased() != welcome.nodeName else { return }
        toldName = name
        logger.warning(
            "name: other nodes call this one as the relay does; the name in the settings changes nothing",
            metadata: ["name": "\(welcome.nodeName)", "settings": "\(name)"])
    }

    // MARK: Reload and drain

    private func applyReload() {
        var fresh: AgentSettings
        do throws(SettingsError) { fresh = try reload() } catch {
            tellOfKeyFile(settings.key)
            return logger.error("the settings are not changed", metadata: ["error": "\(error)"])
        }
        output.apply(fresh.log)
        tellOfKeyFile(fresh.key)
        if fresh.needsRestart(after: settings) {
            logger.warning(
                "key, admin-socket, name-suffix, known-nodes, providers and limits change only with a restart")
        }
        // Names that were handed out stay what they are.
        fresh.nameSuffix = settings.nameSuffix
        settings = fresh
        services.limits.connectTimeout = fresh.timeouts.connect
        services.limits.flowTimeout = fresh.timeouts.udpFlow
        services.limits.halfClosed = fresh.timeouts.halfClosed
        exposures.apply(fresh.expose)
        waysIn.apply(fresh)
        adapter.apply(fresh)
        direct.apply(fresh.direct)
        updateRelay()
        logger.notice("the settings are read anew")
    }

    /// The key is read at the start only: with another one this is another node, which the relay has to invite.
    private func tellOfKeyFile(_ path: String) {
        guard let change = key.change(in: path) else { return }
        var metadata: Logger.Metadata = ["path": "\(path)", "in-use": "\(key.id)"]
        if let problem = change.problem { metadata["error"] = "\(problem)" }
        logger.warning("\(change)", metadata: metadata)
    }

    /// The first signal lets open streams end, the second does not wait.
    private func stop() {
        guard drainDeadline == nil else { return shutDown() }
        logger.notice(
            "stopping: open streams may end",
            metadata: ["streams": "\(streams)", "at-most": "\(settings.timeouts.drain)"])
        drainDeadline = loop.now + settings.timeouts.drain
        waysIn.close()
        providers.close()
        interfaces.close()
        adapter.close()
        direct.close()
        joined.close()
        control?.closeSocket()
        exposures.provider?.tunnel?.goAway(GoAway(code: .shutdown, text: "the node is stopping"))
        peers.drain()
        if isBusy { ticker?.arm(after: .milliseconds(50)) } else { shutDown() }
    }

    private func shutDown() {
        guard !isStopping else { return loop.stop() }
        isStopping = true
        platform.shutdown(now: loop.now)
        providers.close()
        interfaces.close()
        control?.closeSocket()
        // One more moment, in which the goodbye goes out.
        ticker?.arm(after: .milliseconds(50))
    }

    var streams: Int { (exposures.provider?.tunnel?.streamCount ?? 0) + peers.streams }

    /// Whether there is anything that a draining agent waits for. The tunnels to other nodes lie in streams of the relay's:
    /// they leave by themselves.
    private var isBusy: Bool { exposures.provider?.tunnel?.hasByteStreams == true || peers.isBusy }

    fileprivate func end(_ status: ExitStatus) {
        self.status = status
        shutDown()
    }
}

// MARK: - Events

extension Agent: PlatformObserver {
    public func platform(_ platform: Platform, instance: ProviderInstance, changedTo state: InstanceState) {
        interfaces.changed(instance, to: state)
        if state == .active, providers.isExternal(instance.name) { peers.providerCame(instance) }
    }

    public func platform(_ platform: Platform, instance: ProviderInstance, terminated record: TerminationRecord) {
        guard record.name == Agent.relayName else { return note(record) }
        exposures.sessionEnded()
        names.sessionEnded()
        welcome = nil
        relay = nil
        joined.relay = nil
        // A relay that stays away is told of once, not at every try.
        let isRepeated = record.activeFor == nil && record.message == lastEnd
        lastEnd = record.message
        logger.log(
            level: isStopping ? .notice : isRepeated ? .info : .warning, "session ended",
            metadata: [
                "provider": "\(record.name)", "reason": "\(record.reason)", "message": "\(record.message)",
                "advice": "\(record.reason.advice)",
            ])
        guard !isStopping else { return }
        if endsWhenRefused, record.reason == .providerOtherFailure { end(.refused) }
    }

    /// A tunnel to another node has ended: made again when something is to go there.
    private func note(_ record: TerminationRecord) {
        logger.log(
            level: providers.isExternal(record.name) && !isStopping ? .warning : .info, "session ended",
            metadata: ["provider": "\(record.name)", "reason": "\(record.reason)", "message": "\(record.message)"])
    }

    public func platformDeadlineMoved(_ platform: Platform) {
        if let deadline = platform.nextDeadline { platformTimer?.arm(at: deadline) }
    }
}

extension Agent: RelayProviderDelegate {
    public func relayProvider(_ provider: RelayProvider, welcomed welcome: Welcome, by address: TransportAddress?) {
        self.welcome = welcome
        relay = provider
        relayAddress = address?.description
        logger.notice(
            "session active",
            metadata: [
                "provider": "\(Agent.relayName)", "relay": "\(address?.description ?? "?")",
                "name": "\(welcome.nodeName)",
            ])
        tellOfName(welcome)
        names.relay = provider
        peers.relay = provider
        if case .address(let observed) = welcome.observedAddress { direct.observed = observed.ip.canonical }
        joined.relay = joinedRelay(provider, welcome)
        exposures.sessionActive(provider)
    }

    public func relayProvider(_ provider: RelayProvider, received answer: ReachAnswer) { names.received(answer) }

    public func relayProviderIsStopping(_ provider: RelayProvider) { peers.relayIsStopping() }

    public func relayProvider(_ provider: RelayProvider, received answer: ExposeAnswer) {
        exposures.received(answer, from: provider, at: loop.now)
        if endsWhenRefused, answer.port == 0 { end(.refused) }
    }
}

extension Agent: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        if timer === platformTimer {
            platform.handleTimeout(now: loop.now)
            return platformDeadlineMoved(platform)
        }
        guard !isStopping else { return loop.stop() }
        if drainDeadline != nil { peers.drain() }
        if let drainDeadline, !isBusy || loop.now >= drainDeadline { return shutDown() }
        exposures.retry(now: loop.now)
        names.sweep()
        peers.sweep()
        direct.sweep()
        joined.sweep()
        if drainDeadline == nil {
            waysIn.openMissing()
            providers.open()
            adapter.openMissing()
        }
        sampler.flush(now: loop.now)
        control?.openSocket()
        loop.releaseIdleMemory()
        timer.arm(after: drainDeadline == nil ? Agent.tick : .milliseconds(50))
    }
}

extension Agent: ProgramControlDelegate {
    public func programReloads() { applyReload() }
    public func programStops() { stop() }

    public func administration(answers request: String) -> String? {
        switch request {
        case "status": statusText
        case "status --json": statusJSON
        case "providers": providers.text(now: loop.now)
        case "providers --json": providers.json(now: loop.now)
        default: nil
        }
    }
}

extension Agent {
    public func administration(begins request: String, _ conversation: AdministrationConversation) -> Bool {
        do throws(AgentRequest.Failure) {
            switch try AgentRequest(text: request) {
            case .nodes(let json): questions.list(json: json, to: conversation)
            case .ping(let node, let count): questions.ping(node, count: count, to: conversation)
            case .adapter: adapter.lend(conversation)
            case let lasting: waysIn.lend(lasting, conversation)
            }
        } catch {
            guard case .malformed(let text) = error else { return false }
            conversation.refuse(.unavailable(text))
        }
        return true
    }
}
