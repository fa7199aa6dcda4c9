// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
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

/// The public ports that nodes have, and who may have which.
///
/// A port belongs to a node. While the node's session is replaced by a newer one, the port stays open for a moment without
/// an owner, and the new session takes it over as it is.
final class PortTable {
    struct Key: Hashable {
        var transport: PortProtocol
        var port: UInt16
    }

    /// One exposed port.
    final class Entry {
        let key: Key
        let node: NodeID
        let port: any ExposedPort
        /// The request that it answers, in the session that owns it.
        var request: UInt32
        weak var provider: NodeProvider?
        var orphanedAt: Instant?

        init(key: Key, node: NodeID, port: any ExposedPort, request: UInt32, provider: NodeProvider) {
            self.key = key
            self.node = node
            self.port = port
            self.request = request
            self.provider = provider
        }
    }

    /// What one node has, so that no question about it looks at the ports of all the others.
    private struct Holding {
        var entries: [Key: Entry] = [:]
        /// The UDP flows of all its ports together.
        let flows: FlowBudget
    }

    private(set) var entries: [Key: Entry] = [:]
    private var holdings: [NodeID: Holding] = [:]
    private var orphans: [Key: Entry] = [:]
    var settings: RelaySettings
    private let loop: EventLoop
    private unowned let platform: Platform
    private let registry: any NodeRegistry
    private let logger: Logger
    private let sampler: LogSampler
    private var random: any RandomNumberGenerator

    /// How long a port without an owner is kept for the session that takes over.
    private let orphanage: Duration
    private static let triesOfBusyPorts = 16

    init(
        loop: EventLoop, platform: Platform, registry: any NodeRegistry, settings: RelaySettings,
        random: any RandomNumberGenerator, logger: Logger, sampler: LogSampler, orphanage: Duration = .seconds(5)
    ) {
        self.loop = loop
        self.platform = platform
        self.registry = registry
        self.settings = settings
        self.random = random
        self.orphanage = orphanage
        self.logger = logger
        self.sampler = sampler
    }

    func ports(of node: NodeID) -> [Entry] {
        (holdings[node]?.entries ?? [:]).values.sorted {
            ($0.key.transport.rawValue, $0.key.port) < ($1.key.transport.rawValue, $1.key.port)
        }
    }

    // MARK: Exposing

    /// Opens the port that the node asks for.
    /// - Returns: the answer for the node: the port, or why not.
    func expose(_ request: ExposeRequest, for provider: NodeProvider, record: NodeRecord) -> ExposeAnswer {
        let transport = PortProtocol(request.transport)
        do throws(Refusal) {
            let entry = try open(request, transport, for: provider, record)
            sampler.log(
                .info, kind: "port exposed \(record.name)", now: loop.now, "port exposed",
                metadata: [
                    "node": "\(record.name)", "port": "\(transport.rawValue):\(entry.key.port)",
                    "service": "\(request.name)",
                ])
            return ExposeAnswer(id: request.id, port: entry.key.port)
        } catch {
            sampler.log(
                .notice, kind: "port refused", now: loop.now, "port refused",
                metadata: [
                    "node": "\(record.name)", "port": "\(transport.rawValue):\(request.port)", "why": "\(error.text)",
                ])
            return ExposeAnswer(id: request.id, port: 0, refusal: error.text)
        }
    }

    private struct Refusal: Error {
        var text: String
        /// Another program has the port.
        var isBusy = false
    }

    /// Opens the port. Where the choice is the relay's, a port that another program has is passed over.
    private func open(
        _ request: ExposeRequest, _ transport: PortProtocol, for provider: NodeProvider, _ record: NodeRecord
    ) throws(Refusal) -> Entry {
        var busy: Set<UInt16> = []
        while true {
            let port = try choosePort(request, transport, record, except: busy)
            do throws(Refusal) {
                return try open(Key(transport: transport, port: port), request, provider)
            } catch {
                guard request.port == 0, error.isBusy, busy.count < Self.triesOfBusyPorts else { throw error }
                busy.insert(port)
            }
        }
    }

    private func choosePort(
        _ request: ExposeRequest, _ transport: PortProtocol, _ record: NodeRecord, except busy: Set<UInt16>
    ) throws(Refusal) -> UInt16 {
        let own = holdings[record.id]?.entries ?? [:]
        let has = own[Key(transport: transport, port: request.port)] != nil
        guard has || own.count < settings.limits.exposuresPerNode else {
            throw Refusal(
                text: "the relay allows \(settings.limits.exposuresPerNode) ports a node (limits.exposures-per-node)")
        }
        guard request.port != 0 else { return try automaticPort(request, transport, record, except: busy) }
        try check(transport, request.port, record)
        return request.port
    }

    private func check(_ transport: PortProtocol, _ port: UInt16, _ record: NodeRecord) throws(Refusal) {
        guard settings.expose.permits(transport, port) else {
            throw Refusal(text: "the relay does not offer \(transport.rawValue) port \(port) (its expose.ports)")
        }
        guard record.permissions.mayExpose(transport, port: port) else {
            throw Refusal(
                text:
                    "this node may not expose \(transport.rawValue) port \(port); it may expose \(record.permissions.exposable)"
            )
        }
    }

    /// The port that the node had for a service of this name, else any that is free.
    private func automaticPort(
        _ request: ExposeRequest, _ transport: PortProtocol, _ record: NodeRecord, except busy: Set<UInt16>
    ) throws(Refusal) -> UInt16 {
        let kept = (try? registry.reservations(of: record.id)) ?? []
        for reservation in kept
        where reservation.protocol == transport && reservation.label == request.name
            && !busy.contains(reservation.port)
        {
            let key = Key(transport: transport, port: reservation.port)
            let isFree = entries[key].map { $0.node == record.id && $0.provider == nil } ?? true
            if isFree, (try? check(transport, reservation.port, record)) != nil { return reservation.port }
        }
        let range = settings.expose.automaticPorts(transport)
        let start = Int.random(in: 0..<range.count, using: &random)
        for offset in 0..<range.count {
            let port = range.lowerBound + UInt16((start + offset) % range.count)
            guard !busy.contains(port), entries[Key(transport: transport, port: port)] == nil,
                (try? check(transport, port, record)) != nil,
                ((try? registry.owner(of: transport, port: port)) ?? nil).map({ $0 == record.id }) ?? true
            else { continue }
            return port
        }
        throw Refusal(
            text:
                "none of the \(transport.rawValue) ports that the relay gives out (\(range.lowerBound)-\(range.upperBound), its "
                + "expose.automatic) is free and allowed to this node; ask for one by number"
        )
    }

    private func open(_ key: Key, _ request: ExposeRequest, _ provider: NodeProvider) throws(Refusal) -> Entry {
        if let entry = entries[key] { return try takeOver(entry, request, provider) }
        try reserve(key, request, provider.node)
        let limits = ExposedPortLimits(
            visitors: settings.limits.visitorsPerPort, flowTimeout: settings.timeouts.udpFlow,
            halfClosed: settings.timeouts.halfClosed)
        let flows = holdings[provider.node]?.flows ?? FlowBudget(limit: settings.limits.flowsPerNode)
        let port: any ExposedPort
        do throws(ListenFailure) {
            port =
                switch key.transport {
                case .tcp:
                    try ExposedTCPPort(
                        loop: loop, platform: platform, addresses: settings.expose.bind, port: key.port,
                        limits: limits, log: sampler)
                case .udp:
                    try ExposedUDPPort(
                        loop: loop, platform: platform, addresses: settings.expose.bind, port: key.port,
                        limits: limits, flows: flows, log: sampler)
                }
        } catch {
            try? registry.release(key.transport, port: key.port, by: provider.node)
            throw Refusal(
                text: error.error.isAddressInUse
                    ? "\(key.transport.rawValue) port \(key.port) is in use by another program on the relay"
                    : "the relay can't open \(key.transport.rawValue) port \(key.port): \(error)",
                isBusy: error.error.isAddressInUse)
        }
        let entry = Entry(key: key, node: provider.node, port: port, request: request.id, provider: provider)
        entries[key] = entry
        holdings[provider.node, default: Holding(flows: flows)].entries[key] = entry
        give(entry, to: provider)
        return entry
    }

    private func takeOver(
        _ entry: Entry, _ request: ExposeRequest, _ provider: NodeProvider
    ) throws(Refusal) -> Entry {
        let name = "\(entry.key.transport.rawValue) port \(entry.key.port)"
        guard entry.node == provider.node else { throw Refusal(text: "\(name) is exposed by another node") }
        guard entry.provider == nil || entry.provider === provider && entry.request == request.id else {
            throw Refusal(text: "this node exposes \(name) already")
        }
        entry.request = request.id
        entry.provider = provider
        give(entry, to: provider)
        return entry
    }

    private func give(_ entry: Entry, to provider: NodeProvider) {
        entry.orphanedAt = nil
        orphans[entry.key] = nil
        entry.port.owner = provider.instance.map {
            PortOwner(instance: $0, local: provider.local, remote: provider.remote)
        }
    }

    private func reserve(_ key: Key, _ request: ExposeRequest, _ node: NodeID) throws(Refusal) {
        do throws(RegistryError) {
            let result = try registry.reserve(
                key.transport, port: key.port, for: node, label: request.name,
                now: WallTime.now.seconds)
            guard case .taken = result else { return }
        } catch {
            // The port can be used all the same; only that it comes back after a restart is not certain.
            return logger.error("a port could not be reserved", metadata: ["error": "\(error)"])
        }
        throw Refusal(text: "\(key.transport.rawValue) port \(key.port) is kept for another node")
    }

    // MARK: Closing

    /// The node gives a port back, for good.
    func unexpose(_ id: UInt32, for provider: NodeProvider) {
        let own = holdings[provider.node]?.entries ?? [:]
        guard let entry = own.values.first(where: { $0.provider === provider && $0.request == id }) else { return }
        try? registry.release(entry.key.transport, port: entry.key.port, by: entry.node)
        close(entry)
    }

    /// The session is over. Where another of the same node is there already, its ports wait for it.
    func sessionEnded(_ provider: NodeProvider, isReplaced: Bool) {
        for entry in (holdings[provider.node]?.entries ?? [:]).values where entry.provider === provider {
            entry.provider = nil
            entry.port.owner = nil
            guard isReplaced else {
                close(entry)
                continue
            }
            entry.orphanedAt = loop.now
            orphans[entry.key] = entry
        }
    }

    /// Closes what nobody took over.
    func sweep() {
        for entry in orphans.values {
            if let since = entry.orphanedAt, loop.now - since >= orphanage { close(entry) }
        }
    }

    /// The relay is stopping: no new visitors.
    func stopAccepting() {
        for entry in entries.values { entry.port.stopAccepting() }
    }

    /// Closes the ports that the settings do not offer any more, and tells their nodes, which ask again by and by.
    func applySettings(_ settings: RelaySettings) {
        self.settings = settings
        for entry in entries.values where !settings.expose.permits(entry.key.transport, entry.key.port) {
            logger.notice("a port is not offered any more", metadata: ["port": "\(entry.key.port)"])
            let refusal =
                "the relay does not offer \(entry.key.transport.rawValue) port \(entry.key.port) any more (its expose.ports)"
            entry.provider?.tunnel?.answer(ExposeAnswer(id: entry.request, port: 0, refusal: refusal))
            close(entry)
        }
    }

    private func close(_ entry: Entry) {
        entries[entry.key] = nil
        orphans[entry.key] = nil
        holdings[entry.node]?.entries[entry.key] = nil
        if holdings[entry.node]?.entries.isEmpty == true { holdings[entry.node] = nil }
        entry.port.close()
    }
}

extension PortProtocol {
    init(_ transport: ExposeRequest.Transport) {
        switch transport {
        case .tcp: self = .tcp
        case .udp: self = .udp
        }
    }
}
