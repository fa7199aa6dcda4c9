// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Proxying
internal import Redirection
internal import Settings
internal import Telemetry

/// The listeners through which this host's programs reach other nodes, and what other nodes may reach here: as the settings
/// want it, and as long as commands in the foreground ask for more.
final class WaysIn {
    /// What a command in the foreground has asked for: it ends with its conversation.
    private struct Lease {
        var forward: LocalForward?
        var proxy: ProxyPort?
        var rule: ServeRule?
        var run: RedirectedRun?
        var gateway: Gateway?

        /// Where it was to listen too, and this host has no address of that family.
        var missing: [TransportAddress] { (forward?.missing ?? []) + (proxy?.missing ?? []) }

        func close() {
            gateway?.close()
            run?.close()
            forward?.close()
            proxy?.close()
        }
    }

    private(set) var forwards: [Forward: LocalForward] = [:]
    private(set) var proxy: ProxyPort?
    private var socks: SOCKSListener?
    private(set) var gateway: Gateway?
    private var gatewaySettings: GatewaySettings?
    private var leases: [ObjectIdentifier: Lease] = [:]
    /// What could not be opened, and why: tried again by and by.
    private var failed: [String: String] = [:]
    private var settings: AgentSettings
    private let loop: EventLoop
    private let router: AgentRouter
    private let served: ServedPorts
    private let logger: Logger
    private let sampler: LogSampler
    private let runs: RunDirectory
    private let names: NameAnswerer

    init(
        loop: EventLoop, settings: AgentSettings, router: AgentRouter, served: ServedPorts, logger: Logger,
        sampler: LogSampler
    ) {
        self.loop = loop
        self.settings = settings
        self.router = router
        self.served = served
        self.logger = logger
        self.sampler = sampler
        names = NameAnswerer(
            loop: loop, suffix: settings.nameSuffix, finder: router, addresses: NodeAddresses(),
            servers: NameServers(), log: sampler)
        runs = RunDirectory(beside: settings.adminSocket)
        runs.clean()
    }

    // MARK: As the settings want it

    /// What is new is opened, what is gone is closed, the rest is not touched.
    func apply(_ settings: AgentSettings) {
        self.settings = settings
        failed = [:]
        for (forward, listener) in forwards where !settings.forward.contains(forward) {
            listener.close()
            forwards[forward] = nil
        }
        if socks != settings.socks {
            proxy?.close()
            proxy = nil
            socks = settings.socks
        }
        if gatewaySettings != settings.gateway {
            gateway?.close()
            gateway = nil
            gatewaySettings = settings.gateway
        }
        applyRules()
        openMissing()
    }

    /// Opens what could not be opened before.
    func openMissing() {
        openGateway()
        for forward in settings.forward where forwards[forward] == nil {
            attempt("forward \(forward)") { () throws(ListenFailure) in
                let opened = try open(forward)
                forwards[forward] = opened
                return opened.missing
            }
        }
        if let socks, proxy == nil {
            attempt("socks \(ListenText.text(socks.listen))") { () throws(ListenFailure) in
                let opened = try open(socks)
                proxy = opened
                return opened.missing
            }
        }
    }

    private func openGateway() {
        guard let gatewaySettings, gateway == nil else { return }
        attempt("gateway \(gatewaySettings.port)", permission: WaysIn.capability) { () throws(ListenFailure) in
            gateway = try open(gatewaySettings)
            return []
        }
    }

    /// - Parameters:
    ///   - permission: what is missing where the system does not permit it.
    ///   - body: opens it, and answers which addresses this host can't have.
    private func attempt(
        _ what: String, permission: String = "", _ body: () throws(ListenFailure) -> [TransportAddress]
    ) {
        do throws(ListenFailure) {
            let missing = try body()
            failed[what] = nil
            var metadata: Logger.Metadata = ["what": "\(what)"]
            if !missing.isEmpty { metadata["without"] = "\(WaysIn.text(missing))" }
            logger.notice("listening for programs of this host", metadata: metadata)
        } catch {
            let why = "\(error)\(error.error.isPermissionDenied ? permission : "")"
            guard failed.updateValue(why, forKey: what) == nil else { return }
            logger.error("can't listen", metadata: ["what": "\(what)", "error": "\(why)"])
        }
    }

    /// What the settings want and could not be opened, and why not.
    var failures: [(what: String, why: String)] {
        failed.sorted { $0.key < $1.key }.map { (what: $0.key, why: $0.value) }
    }

    private static func text(_ addresses: [TransportAddress]) -> String {
        addresses.map(\.description).joined(separator: " ")
    }

    private func open(_ gateway: GatewaySettings) throws(ListenFailure) -> Gateway {
        var plan = GatewayPlan(
            port: gateway.port, egress: gateway.egress, connections: settings.limits.streams,
            flows: settings.limits.flows, flowTimeout: settings.timeouts.udpFlow)
        plan.halfClosed = settings.timeouts.halfClosed
        plan.names = gateway.names
        return try Gateway(
            loop: loop, plan: plan, router: router, names: names, log: sampler)
    }

    private func open(_ forward: Forward) throws(ListenFailure) -> LocalForward {
        try LocalForward(
            loop: loop, addresses: forward.listen, target: forward.target, router: router,
            limits: LocalForwardLimits(
                connections: settings.limits.streams, halfClosed: settings.timeouts.halfClosed), log: sampler)
    }

    private func open(_ socks: SOCKSListener) throws(ListenFailure) -> ProxyPort {
        var limits = ProxyPortLimits(connections: settings.limits.streams, halfClosed: settings.timeouts.halfClosed)
        limits.flowTimeout = settings.timeouts.udpFlow
        limits.flows = min(limits.flows, settings.limits.flows)
        return try ProxyPort(
            loop: loop, addresses: socks.listen,
            credentials: socks.credentials.map { ProxyCredentials(user: $0.user, password: $0.password) },
            router: router, limits: limits, log: sampler)
    }

    private func applyRules() {
        served.rules = settings.serve.map { ServeRule($0) } + leases.values.compactMap(\.rule)
    }

    // MARK: As commands in the foreground want it

    /// Begins what a command asks for; it lasts as long as the conversation.
    func lend(_ request: AgentRequest, _ conversation: AdministrationConversation) {
        var lease = Lease()
        do throws(ListenFailure) {
            switch request {
            case .forward(let forward): lease.forward = try open(forward)
            case .socks(let socks): lease.proxy = try open(socks)
            case .serve(let serve): lease.rule = ServeRule(serve)
            case .gateway(let settings): lease.gateway = try open(settings)
            case .run(let egress):
                do throws(UVError) { lease.run = try open(runFor: conversation, egress: egress) } catch {
                    let advice = error == .notPermitted ? WaysIn.otherNamespace : ""
                    return conversation.refuse(.unavailable("can't listen: \(error)\(advice)"))
                }
            case .nodes, .ping, .adapter: return conversation.refuse(.unavailable("it does not last"))
            }
        } catch {
            var advice = ""
            if case .gateway = request, error.error.isPermissionDenied { advice = WaysIn.capability }
            return conversation.refuse(.unavailable("can't listen: \(error)\(advice)"))
        }
        let key = ObjectIdentifier(conversation)
        leases[key] = lease
        applyRules()
        // The closure keeps the conversation, so that its identity is its own until it ends.
        conversation.onEnd = { [weak self] in
            _ = conversation
            self?.end(key)
        }
        conversation.answer(.ok)
        if let run = lease.run { conversation.send("\(run.environment)\n") }
        let missing = lease.missing
        if !missing.isEmpty {
            conversation.send("this host can't have \(WaysIn.text(missing)), so that nothing listens there\n")
        }
    }

    private static let capability = "; for a gateway the agent needs CAP_NET_RAW and CAP_NET_BIND_SERVICE"

    /// In a user namespace all that have no number there have one and the same (overflowuid).
    private static let unknownUser: UInt32 = 65_534
    private static let otherNamespace =
        "; the agent can't tell who asks: the user is nobody, or of another user namespace "
        + "(PrivateUsers= of systemd makes one)"

    private func open(
        runFor conversation: AdministrationConversation, egress: Bool
    ) throws(UVError) -> RedirectedRun {
        guard let user = conversation.user, user != WaysIn.unknownUser else { throw .notPermitted }
        var limits = RunLimits(
            connections: settings.limits.streams, flows: settings.limits.flows, flowTimeout: settings.timeouts.udpFlow)
        limits.halfClosed = settings.timeouts.halfClosed
        return try RedirectedRun(
            loop: loop, path: try runs.newPath(), user: user, egress: egress, router: router, names: names,
            limits: limits, log: sampler)
    }

    private func end(_ key: ObjectIdentifier) {
        leases.removeValue(forKey: key)?.close()
        applyRules()
    }

    /// The agent is stopping: nothing new begins.
    func close() {
        gateway?.close()
        for listener in forwards.values { listener.close() }
        proxy?.close()
        for lease in leases.values { lease.close() }
        names.close()
    }

    /// What listens for programs of this host: where, where it leads, and how many connections it has.
    var listeners: [(addresses: [TransportAddress], target: String, connections: Int, counters: WayInCounters)] {
        let lent = leases.values
        let forwards = self.forwards.values.map { $0 } + lent.compactMap(\.forward)
        let proxies = [proxy].compactMap(\.self) + lent.compactMap(\.proxy)
        return forwards.map { ($0.addresses, $0.target.description, $0.connections, $0.counters) }
            + proxies.map { ($0.addresses, "proxy", $0.connections, $0.counters) }
            + lent.compactMap(\.run).map { ($0.addresses, "run", $0.connections, $0.counters) }
            + gateways.map { ($0.addresses, "gateway", $0.connections, $0.counters) }
    }

    private var gateways: [Gateway] { [gateway].compactMap(\.self) + leases.values.compactMap(\.gateway) }

    /// Connections of programs of this host, and of the hosts behind it.
    var connections: Int { listeners.reduce(0) { $0 + $1.connections } }
}

extension ServeRule {
    init(_ serve: Serve) {
        self.init(
            kind: serve.transport == .tcp ? .stream : .datagram, ports: serve.ports, nodes: Set(serve.to),
            host: serve.host)
    }
}
