// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Cryptography
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Registry
internal import Settings
internal import Telemetry
internal import Tunneling

/// The nodes that are connected, and how one becomes so.
///
/// One session a node: a newer one takes over at once, without waiting for the older to notice that it is dead.
final class NodeTable {
    /// A node's session, with what the registry says of it.
    struct Node {
        var provider: NodeProvider
        var record: NodeRecord
        var since: Instant
        var address: TransportAddress?
        /// What EXPOSE and UNEXPOSE cost: each may write to the registry.
        var requests: TokenBucket

        /// How fast ports may be asked for and given back: as many at once as two whole configurations, twice over.
        static func requests(_ limits: RelaySettings.Limits, now: Instant) -> TokenBucket {
            let ports = Double(limits.exposuresPerNode)
            return TokenBucket(rate: max(10, ports / 10), burst: max(100, ports * 4), now: now)
        }
    }

    private(set) var nodes: [NodeID: Node] = [:]
    let egress: Egress
    let joins: JoinTable
    /// The connected nodes by what others call them.
    private var transportIDs: [IPAddress: NodeID] = [:]
    /// All nodes of the registry by what others call them; nil where that is to be read anew.
    var registered: [IPAddress: NodeID]?
    /// How many tunnels there are from one node to another.
    var tunnels: [NodePair: Int] = [:]
    var settings: RelaySettings {
        didSet { applyEgress() }
    }
    var isDraining = false
    let loop: EventLoop
    /// Keeps this table, as its acceptor.
    unowned let platform: Platform
    let registry: any NodeRegistry
    private let ports: PortTable
    private let relay: NodeID
    let logger: Logger
    private let sampler: LogSampler
    /// For the comings and goings of nodes, each a kind of its own: one that comes and goes without end must not fill the
    /// log, nor keep the others out of it.
    private let journal: LogSampler

    init(
        loop: EventLoop, platform: Platform, registry: any NodeRegistry, ports: PortTable, relay: NodeID,
        settings: RelaySettings, logger: Logger, sampler: LogSampler
    ) {
        self.loop = loop
        self.platform = platform
        self.registry = registry
        self.ports = ports
        self.relay = relay
        self.settings = settings
        self.logger = logger
        self.sampler = sampler
        journal = LogSampler(logger, lines: 6, per: .seconds(30), maximumKinds: 4_096)
        Resolver.widen(to: Egress.lookupsAtOnce)
        joins = JoinTable(loop: loop, logger: logger)
        egress = Egress(loop: loop, limits: EgressLimits(settings), log: sampler)
        applyEgress()
    }

    /// Tells what was held back of the comings and goings.
    func flushLog() { journal.flush(now: loop.now) }

    // MARK: Admission

    /// Decides about a node, and welcomes it or tells it why not.
    func admit(_ arrival: Arrival, node: NodeID, hello: Hello) {
        do throws(GoAway) {
            let record = try examine(node, hello)
            try welcome(arrival, record)
        } catch {
            sampler.log(
                .notice, kind: "node refused", now: loop.now, "node refused",
                metadata: [
                    "from": "\(arrival.source)", "key": "\(node)", "calls-itself": "\(hello.nodeName)",
                    "why": "\(error.text)",
                ])
            arrival.refuse(error)
        }
    }

    private func examine(_ node: NodeID, _ hello: Hello) throws(GoAway) -> NodeRecord {
        guard !isDraining else { throw GoAway(code: .shutdown, text: "the relay is stopping") }
        guard hello.version >= Tunnel.version else {
            throw GoAway(
                code: .versionUnsupported,
                text: "the relay speaks version \(Tunnel.version) of the protocol, the node only up to \(hello.version)"
            )
        }
        let invite = hello.inviteToken.isEmpty ? nil : InviteToken(bytes: hello.inviteToken)
        switch try ask(node, invite) {
        case .admitted(let record, let newlyRegistered):
            if newlyRegistered {
                registered = nil
                logger.notice("node registered", metadata: ["node": "\(record.name)", "key": "\(node)"])
            }
            return record
        case .refused(let reason): throw RegistryRefusal(reason).error
        }
    }

    private func ask(_ node: NodeID, _ invite: InviteToken?) throws(GoAway) -> Admission {
        do throws(RegistryError) {
            return try registry.admit(node, invite: invite, now: WallTime.now.seconds)
        } catch {
            logger.error("the registry failed", metadata: ["error": "\(error)"])
            throw GoAway(code: .internalError, text: "the relay's registry failed; its log tells why")
        }
    }

    private func welcome(_ arrival: Arrival, _ record: NodeRecord) throws(GoAway) {
        let old = nodes[record.id]
        guard old != nil || nodes.count < settings.limits.nodes else {
            throw GoAway(code: .limit, text: "the relay has \(settings.limits.nodes) nodes already (limits.nodes)")
        }
        let provider = NodeProvider(
            loop: loop, relay: relay, node: record.id, nodeName: record.name.text, carrier: arrival.carrier)
        provider.delegate = self
        transportIDs[record.id.transportAddress] = record.id
        nodes[record.id] = Node(
            provider: provider, record: record, since: loop.now, address: arrival.carrier.remoteAddress,
            requests: Node.requests(settings.limits, now: loop.now))
        old?.provider.dismiss(
            GoAway(code: .replaced, text: "another session with this node's key has taken over, from \(arrival.source)")
        )
        do throws(PlatformError) {
            let instance = try platform.createInstance(provider: provider, name: "node/\(record.name)")
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [provider.local], now: loop.now)
        } catch {
            forget(record.id)
            throw GoAway(code: .limit, text: "the relay can't take the session: \(error)")
        }
        provider.welcome(welcomeMessage(record, provider, arrival))
        journal.log(
            .info, kind: "\(record.name)", now: loop.now, "node connected",
            metadata: ["node": "\(record.name)", "from": "\(arrival.source)", "key": "\(record.id)"])
    }

    private func welcomeMessage(_ record: NodeRecord, _ provider: NodeProvider, _ arrival: Arrival) -> Welcome {
        Welcome(
            nodeName: record.name.text, transportIDs: [provider.remote.address],
            observedAddress: .address(arrival.source), livenessInterval: settings.timeouts.livenessInterval,
            tunnelID: SecureRandom.bytes(16), resumeToken: SecureRandom.bytes(32), limits: settings.tunnelLimits)
    }

    private func forget(_ node: NodeID) {
        nodes[node] = nil
        transportIDs[node.transportAddress] = nil
    }

    /// The node with this transport ID, if it is connected.
    func node(at id: IPAddress) -> Node? { transportIDs[id].flatMap { nodes[$0] } }

    // MARK: Looking after them

    /// Takes over what the operator has changed: sessions of nodes that are removed end, and so does what is no longer
    /// allowed. Every node is told, for it may have tunnels that do not pass here with others that are not connected.
    func checkRegistry() {
        guard (try? registry.hasChangedElsewhere()) == true else { return }
        registered = nil
        for node in Array(nodes.values) {
            do throws(RegistryError) {
                if let record = try registry.node(node.record.id) { update(node, record) } else { dismiss(node) }
            } catch {
                logger.error("the registry failed", metadata: ["error": "\(error)"])
            }
        }
        endJoints()
        for node in nodes.values { node.provider.tunnel?.answer(.notice) }
    }

    private func dismiss(_ node: Node) {
        joins.end(of: node.record.id)
        logger.notice("node removed", metadata: ["node": "\(node.record.name)"])
        node.provider.dismiss(GoAway(code: .revoked, text: RefusalReason.revoked.description))
    }

    private func update(_ node: Node, _ record: NodeRecord) {
        let old = node.record.permissions
        guard record.permissions != old else { return }
        nodes[record.id]?.record = record
        logger.notice(
            "a node's permissions are changed",
            metadata: ["node": "\(record.name)", "from": "\(old)", "to": "\(record.permissions)"])
        if old.egress, !record.permissions.egress { endEgress(of: node) }
        if old.reach != record.permissions.reach { endTunnels(of: node, allowed: record.permissions.reach) }
    }

    /// No new streams; every node is told to look for another relay.
    func drain() {
        isDraining = true
        joins.drain()
        for node in nodes.values { node.provider.drain("the relay is stopping") }
    }

    var streams: Int { nodes.values.reduce(0) { $0 + ($1.provider.tunnel?.streamCount ?? 0) } }
    /// Whether there is anything that a draining relay waits for.
    var isBusy: Bool { joins.count > 0 || nodes.values.contains { $0.provider.tunnel?.hasByteStreams == true } }
}

extension NodeTable: NodeProviderDelegate {
    func nodeProvider(_ provider: NodeProvider, received expose: ExposeRequest) {
        guard let node = request(of: provider) else { return }
        provider.tunnel?.answer(ports.expose(expose, for: provider, record: node.record))
    }

    func nodeProvider(_ provider: NodeProvider, unexpose id: UInt32) {
        guard request(of: provider) != nil else { return }
        ports.unexpose(id, for: provider)
    }

    /// Counts a request about ports or nodes; one that asks without end is sent away, for it keeps the others waiting.
    func request(of provider: NodeProvider) -> Node? {
        guard let node = nodes[provider.node], node.provider === provider else { return nil }
        if nodes[provider.node]?.requests.take(now: loop.now) == true { return node }
        logger.warning(
            "a node asks for ports, or for other nodes, without end", metadata: ["node": "\(node.record.name)"])
        provider.dismiss(
            GoAway(code: .limit, text: "ports or nodes are asked for faster than the relay takes it"))
        return nil
    }

    func nodeProviderEnded(_ provider: NodeProvider, reason: SessionTerminationReason, message: String) {
        let isReplaced = nodes[provider.node].map { $0.provider !== provider } ?? false
        if !isReplaced { forget(provider.node) }
        ports.sessionEnded(provider, isReplaced: isReplaced)
        registry.noteSeen(provider.node, now: WallTime.now.seconds)
        journal.log(
            .info, kind: provider.nodeName, now: loop.now, "node disconnected",
            metadata: ["node": "\(provider.nodeName)", "reason": "\(reason)", "message": "\(message)"])
    }
}

extension GoAway: Error {}

/// The registry's reasons as the tunnel's codes.
private struct RegistryRefusal {
    let error: GoAway

    init(_ reason: RefusalReason) {
        let code: GoAwayCode =
            switch reason {
            case .unknownNode: .unknownNode
            case .inviteUnknown: .inviteUnknown
            case .inviteUsed: .inviteUsed
            case .inviteExpired: .inviteExpired
            case .revoked: .revoked
            }
        error = GoAway(code: code, text: reason.description)
    }
}

extension RelaySettings {
    /// The bounds of a node's tunnel.
    var tunnelLimits: TunnelLimits {
        var tunnel = TunnelLimits()
        tunnel.streams = limits.streamsPerNode
        tunnel.firstWindow = limits.firstWindow
        tunnel.earlyWindow = min(tunnel.earlyWindow, limits.firstWindow)
        tunnel.largestWindow = limits.streamWindow
        tunnel.queuedBytes = limits.queuedBytesPerNode
        tunnel.datagramQueue = limits.datagramQueue
        tunnel.controlQueue = limits.controlQueue
        tunnel.controlFrame = limits.headerBytes
        tunnel.opensPerSecond = limits.opensPerSecond
        return tunnel
    }
}
