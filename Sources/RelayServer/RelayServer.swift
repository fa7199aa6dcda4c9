// SPDX-License-Identifier: Apache-2.0

public import Administration
public import ConnectivityPlatform
internal import Cryptography
public import EventLoop
public import Identity
internal import Logging
public import Primitives
public import Providers
internal import Registry
public import Settings
internal import TLS
public import Telemetry
public import Tunneling

/// The relay: settings become objects, the loop runs them, SIGHUP reads the settings anew, SIGTERM drains.
public final class RelayServer {
    /// The application protocol of a carrier (RFC 7301).
    static let alpn = "natfwt/1"
    /// The file of the relay's key in its state directory.
    public static let keyFile = "relay.key"
    /// Where it listens without settings, where it may not use the default port.
    public static let fallbackPort: UInt16 = 4433

    var settings: RelaySettings
    let loop: EventLoop
    let key: NodeKey
    private let keyPath: String
    private let lock: ProgramLock
    let platform: Platform
    let ports: PortTable
    let nodes: NodeTable
    let startedAt: Instant
    let listeners: NodeListeners
    let logger: Logger

    private let output: LogOutput
    private let reload: () throws(SettingsError) -> RelaySettings
    private let context: TLSContext
    private var gate: HandshakeGate
    private let sampler: LogSampler
    var arrivals = ArrivalQueue()
    private var control: ProgramControl?
    private var ticker: LoopTimer?
    private var platformTimer: LoopTimer?
    /// Runs while connections wait in the backlog for somebody to give way.
    private var roomTimer: LoopTimer?
    private var isWaitingForRoom = false
    private var drainDeadline: Instant?
    private var isStopping = false

    private static let tick: Duration = .milliseconds(500)
    private static let roomTick: Duration = .milliseconds(20)

    /// - Parameters:
    ///   - reload: reads the settings anew, for SIGHUP.
    ///   - mayFallBack: whether port 4433 will do where the default port needs a privilege.
    public init(
        settings: RelaySettings, output: LogOutput, mayFallBack: Bool,
        reload: @escaping () throws(SettingsError) -> RelaySettings
    ) throws(StartFailure) {
        self.settings = settings
        self.output = output
        self.reload = reload
        logger = output.logger("relay")
        sampler = LogSampler(logger)
        let state = try RelayState(directory: settings.stateDirectory)
        let (key, registry) = (state.key, state.registry)
        keyPath = "\(settings.stateDirectory)/\(RelayServer.keyFile)"
        lock = try ProgramLock(
            settings.stateDirectory,
            problem: "another relay runs with this state directory: stop it first, or choose another folder")
        self.key = key
        loop = try StartFailure.unavailable { try EventLoop() }
        context = try StartFailure.unavailable {
            try TLSContext(
                role: .server, certificateDER: NodeCertificate(key).der, privateKeyDER: key.privateKey.pkcs8DER,
                alpn: [RelayServer.alpn])
        }
        platform = Platform(configuration: RelayServer.platformConfiguration(settings), random: SecureRandom())
        ports = PortTable(
            loop: loop, platform: platform, registry: registry, settings: settings, random: SecureRandom(),
            logger: logger, sampler: sampler)
        nodes = NodeTable(
            loop: loop, platform: platform, registry: registry, ports: ports, relay: key.id, settings: settings,
            logger: logger, sampler: sampler)
        gate = HandshakeGate(
            limit: settings.limits.handshakes, limitPerSource: settings.limits.handshakesPerSource)
        startedAt = loop.now
        listeners = NodeListeners(loop: loop, logger: logger)
        platform.acceptor = nodes
        try listeners.start(
            at: settings.listen, fallback: mayFallBack ? RelayServer.fallbackPort : nil, delegate: self)
    }

    private static func platformConfiguration(_ settings: RelaySettings) -> PlatformConfiguration {
        var configuration = PlatformConfiguration()
        configuration.limits.instances = settings.limits.nodes * 2
        configuration.limits.interfaces = settings.limits.nodes * 2
        configuration.limits.endpointsPerInstance = settings.limits.streamsPerNode + settings.limits.flowsPerNode
        configuration.deadlines.openEndpoint = settings.timeouts.connect
        return configuration
    }

    /// Runs until it is told to stop. The exit status: 0.
    public func run() -> Int32 {
        platform.observer = self
        let control = ProgramControl(loop: loop, path: settings.adminSocket, delegate: self, logger: logger)
        self.control = control
        control.start()
        ticker = LoopTimer(loop: loop, delegate: self)
        platformTimer = LoopTimer(loop: loop, delegate: self)
        ticker?.arm(after: RelayServer.tick)
        logger.notice(
            "the relay is ready",
            metadata: [
                "listen": "\(listeners.addresses.map(\.description).joined(separator: " "))",
                "key": "\(key.id)", "state-directory": "\(settings.stateDirectory)",
                "ciphers": "\(TLSContext.cipherLibrary)",
            ])
        loop.run()
        logger.notice("the relay has stopped")
        return 0
    }

    // MARK: Reload and drain

    private func applyReload() {
        tellOfKeyFile()
        let fresh: RelaySettings
        do throws(SettingsError) { fresh = try reload() } catch {
            return logger.error("the settings are not changed", metadata: ["error": "\(error)"])
        }
        output.apply(fresh.log)
        if fresh.stateDirectory != settings.stateDirectory || fresh.adminSocket != settings.adminSocket {
            logger.warning("state-directory and admin-socket change only with a restart")
        }
        listeners.apply(fresh.listen, delegate: self)
        settings = fresh
        gate.limit = fresh.limits.handshakes
        gate.limitPerSource = fresh.limits.handshakesPerSource
        nodes.settings = fresh
        ports.applySettings(fresh)
        logger.notice("the settings are read anew")
    }

    /// The key is read at the start only: agents know the relay by it, and a new one ends all that was agreed on.
    private func tellOfKeyFile() {
        guard let change = key.change(in: keyPath) else { return }
        var metadata: Logger.Metadata = ["path": "\(keyPath)", "in-use": "\(key.id)"]
        if let problem = change.problem { metadata["error"] = "\(problem)" }
        logger.warning("\(change)", metadata: metadata)
    }

    /// The first signal lets open streams end, the second does not wait.
    private func stop() {
        guard drainDeadline == nil else { return shutDown() }
        logger.notice(
            "stopping: open streams may end",
            metadata: ["streams": "\(nodes.streams)", "at-most": "\(settings.timeouts.drain)"])
        drainDeadline = loop.now + settings.timeouts.drain
        control?.closeSocket()
        lock.release()
        listeners.close()
        ports.stopAccepting()
        nodes.drain()
        if !nodes.isBusy { shutDown() } else { ticker?.arm(after: .milliseconds(50)) }
    }

    private func shutDown() {
        guard !isStopping else { return loop.stop() }
        isStopping = true
        platform.shutdown(now: loop.now)
        control?.closeSocket()
        // One more moment, in which the goodbyes go out.
        ticker?.arm(after: .milliseconds(50))
    }
}

// MARK: - Events

extension RelayServer: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        guard makeRoom(for: address) else { return }
        do throws(TLSError) {
            let carrier = try Carrier(
                loop: loop, transport: stream, context: context, limits: settings.tunnelLimits,
                livenessInterval: settings.timeouts.livenessInterval, patience: settings.timeouts.handshake)
            arrivals.append(Arrival(carrier: carrier, source: address, since: loop.now, admitting: self))
            carrier.start()
            waitForRoom()
        } catch {
            gate.leave(address.ip)
            logger.error("a connection can't be served", metadata: ["error": "\(error)"])
        }
    }

    /// Whether the connection may begin a handshake. Where a bound is reached, one that dawdles makes room for it.
    private func makeRoom(for address: TransportAddress) -> Bool {
        arrivals.turnBegan(loop.now)
        var verdict = gate.enter(address.ip)
        // In a siege by many a source gets one handshake at a time, and the others not even their part of the arithmetic:
        // that of thousands would keep nodes waiting by itself.
        let present = gate.present(address.ip)
        let isOneTooMany = verdict == .refused && present > 0 && present < gate.limit / 4 && arrivals.isBesieged
        if verdict != .admitted, !isOneTooMany,
            let dawdler = dawdler(of: verdict == .refusedForSource ? address.ip : nil)
        {
            leave(dawdler)
            dawdler.carrier.close()
            verdict = gate.enter(address.ip)
        }
        guard let bound = verdict.bound else { return true }
        sampler.log(
            .warning, kind: bound, now: loop.now, "a connection is closed: a bound is reached",
            metadata: ["from": "\(address)", "bound": "\(bound)"])
        return false
    }

    /// Leaves connections in the kernel's backlog while all places are taken by those who get on with it: all nodes come
    /// at once after a restart, and who is sent away comes back the later the more often.
    private func waitForRoom() {
        let isFull = gate.count >= gate.limit && dawdler(of: nil) == nil && !arrivals.isBesieged
        guard isFull != isWaitingForRoom || isFull else { return }
        isWaitingForRoom = isFull
        listeners.setPaused(isFull)
        guard isFull else { return }
        let timer = roomTimer ?? LoopTimer(loop: loop, delegate: self)
        roomTimer = timer
        timer.arm(after: RelayServer.roomTick)
        sampler.log(
            .warning, kind: "wait", now: loop.now, "connections wait: a bound is reached",
            metadata: ["bound": "limits.handshakes"])
    }

    private func dawdler(of source: IPAddress?) -> Arrival? {
        arrivals.dawdler(of: source) { gate.present($0) }
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        sampler.log(
            .error, kind: "accept", now: loop.now,
            "accepting nodes is paused: the system has nothing left to accept them with",
            metadata: ["error": "\(error)"])
    }
}

extension RelayServer: Admitting {
    public func admit(_ arrival: Arrival, node: NodeID, hello: Hello) {
        leave(arrival)
        arrivals.noteAdmission()
        nodes.admit(arrival, node: node, hello: hello)
    }

    public func join(_ arrival: Arrival, node: NodeID, _ request: JoinRequest) {
        leave(arrival)
        nodes.join(arrival, node: node, request)
    }

    public func arrivalFailed(_ arrival: Arrival, fault: SessionFault) {
        leave(arrival)
        nodes.joins.forget(arrival)
        sampler.log(
            .info, kind: "handshake", now: loop.now, "a connection did not become a node's",
            metadata: ["from": "\(arrival.source)", "why": "\(fault.message)"])
    }

    private func leave(_ arrival: Arrival) {
        guard arrivals.remove(arrival) else { return }
        gate.leave(arrival.source.ip)
        if isWaitingForRoom { waitForRoom() }
    }
}

extension RelayServer: PlatformObserver {
    public func platformDeadlineMoved(_ platform: Platform) {
        if let deadline = platform.nextDeadline { platformTimer?.arm(at: deadline) }
    }
}

extension RelayServer: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        if timer === platformTimer {
            platform.handleTimeout(now: loop.now)
            return platformDeadlineMoved(platform)
        }
        if timer === roomTimer {
            arrivals.turnBegan(loop.now)
            return waitForRoom()
        }
        guard !isStopping else { return loop.stop() }
        if let drainDeadline, !nodes.isBusy || loop.now >= drainDeadline { return shutDown() }
        arrivals.turnBegan(loop.now)
        ports.sweep()
        if drainDeadline == nil { listeners.openMissing(delegate: self) }
        control?.openSocket()
        loop.releaseIdleMemory()
        nodes.checkRegistry()
        nodes.sweepJoints()
        sampler.flush(now: loop.now)
        nodes.flushLog()
        timer.arm(after: drainDeadline == nil ? RelayServer.tick : .milliseconds(50))
    }
}

extension RelayServer: ProgramControlDelegate {
    public func programReloads() { applyReload() }
    public func programStops() { stop() }

    public func administration(answers request: String) -> String? {
        switch request {
        case "status": statusText
        case "status --json": statusJSON
        default: nil
        }
    }
}
