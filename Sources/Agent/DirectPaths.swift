// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Settings
internal import Telemetry
internal import Tunneling

/// Connections with other nodes that need no relay (tunnel protocol, "Direct paths"): where this node can be reached is told
/// in the tunnel through the relay, and what the other one tells is tried, again and again with longer waits.
///
/// The tunnel through the relay stays: it is the relay's consent. Where it ends and the relay is there, the relay is asked.
final class DirectPaths {
    /// What is known of a node with which there is a tunnel through the relay, or was before a direct one.
    private struct Peer {
        /// Where it takes connections.
        var candidates: [TransportAddress] = []
        /// Of them those that this round has not come to.
        var untried: ArraySlice<TransportAddress> = []
        /// The one that is being made.
        var attempt: PeerProvider?
        var nextTry: Instant?
        var lastTry: Instant?
        /// How long after a round without success the next one comes.
        var wait = DirectPaths.firstWait
        /// Who has made tunnels through the relay: this side, the other.
        var madeRelayed = false
        var tookRelayed = false
        /// When the relay is asked for its consent; nil while there is a tunnel through it.
        var nextQuestion: Instant?
    }

    let loop: EventLoop
    unowned let peers: PeerTable
    private let names: NodeNames
    private let logger: Logger
    let sampler: LogSampler
    private var settings: DirectSettings
    private var known: [TransportID: Peer] = [:]
    private var listener: DirectListener?
    /// Where the relay sees this node.
    var observed: IPAddress?
    /// What the other nodes were told.
    private var told: [TransportAddress] = []
    private var nextLook: Instant
    /// Since when there has been nobody to listen for.
    private var idleSince: Instant?
    private var isClosed = false
    /// Questions to the relay, which sends away who asks without end: fewer than any of its settings allows.
    private var questions: TokenBucket

    /// The other side, which tries first, is done by then.
    private static let courtesy: Duration = .seconds(2)
    private static let firstWait: Duration = .seconds(30)
    private static let longestWait: Duration = .seconds(600)
    /// Between two rounds with one node, whatever it signals; and after a direct tunnel has ended.
    private static let pause: Duration = .seconds(5)
    /// A node whose key the relay knows is asked after again so much later, while there is no tunnel through the relay.
    private static let nextQuestion: Duration = .seconds(30)
    /// How often this host's addresses are looked at.
    private static let look: Duration = .seconds(10)
    /// The port stays open so long without a tunnel to another node.
    private static let lingering: Duration = .seconds(60)
    /// A direct path that is cut is noticed within three of these.
    private static let livenessInterval: Duration = .seconds(5)

    init(
        loop: EventLoop, peers: PeerTable, names: NodeNames, settings: DirectSettings, logger: Logger,
        sampler: LogSampler
    ) {
        self.loop = loop
        self.peers = peers
        self.names = names
        self.settings = settings
        self.logger = logger
        self.sampler = sampler
        nextLook = loop.now
        questions = TokenBucket(rate: 10, burst: 40, now: loop.now)
        names.onChange = { [weak self] in self?.askAgain() }
    }

    var isEnabled: Bool { settings.enabled && !isClosed }

    private var configuration: PeerConfiguration {
        var configuration = peers.configuration
        configuration.livenessInterval = Self.livenessInterval
        return configuration
    }

    /// Takes new settings.
    func apply(_ fresh: DirectSettings) {
        guard fresh != settings else { return }
        settings = fresh
        listener?.close()
        listener = nil
        nextLook = loop.now
        lookAtAddresses()
        for id in known.keys {
            known[id]?.nextTry = fresh.enabled ? loop.now : nil
            guard !fresh.enabled else { continue }
            known[id]?.attempt?.leave("direct paths are switched off")
            for provider in peers.tunnels(with: id, on: .direct) { provider.leave("direct paths are switched off") }
        }
    }

    /// Takes no more connections, and makes none; tunnels stay.
    func close() {
        isClosed = true
        listener?.close()
        listener = nil
    }

    // MARK: Tunnels come and go

    func tunnelActive(_ provider: PeerProvider, on way: PeerWay) {
        let id = provider.remote
        switch way {
        case .relay:
            note(provider)
            guard isEnabled else { return }
            listen()
            if !announce() { provider.tunnel?.signal(Signal(candidates: told)) }
        case .direct:
            known[id]?.attempt = nil
            known[id]?.nextTry = nil
            known[id]?.wait = Self.firstWait
        case .joined, .provider: break
        }
    }

    private func note(_ relayed: PeerProvider) {
        var peer = known[relayed.remote] ?? Peer()
        if relayed.isDialing { peer.madeRelayed = true } else { peer.tookRelayed = true }
        peer.nextQuestion = nil
        known[relayed.remote] = peer
    }

    func tunnelEnded(_ provider: PeerProvider, on way: PeerWay, wasActive: Bool, _ reason: SessionTerminationReason) {
        let id = provider.remote
        guard known[id] != nil else { return }
        switch way {
        case .relay: relayedEnded(id, reason)
        case .direct where known[id]?.attempt === provider: attemptFailed(id, provider)
        case .direct where wasActive:
            known[id]?.nextTry = loop.now + Self.pause
            forgetIfOver(id)
        case .direct, .joined, .provider: break
        }
    }

    private func relayedEnded(_ id: TransportID, _ reason: SessionTerminationReason) {
        guard peers.tunnels(with: id, on: .relay).isEmpty else { return }
        guard !peers.tunnels(with: id, on: .direct).isEmpty else { return forgetIfOver(id) }
        if reason == .providerOtherFailure { return leave(id, "the relay does not allow it any more") }
        guard known[id]?.nextQuestion == nil else { return }
        known[id]?.nextQuestion = loop.now
        askRelay()
    }

    private func forgetIfOver(_ id: TransportID) {
        guard peers.tunnels(with: id, on: .relay).isEmpty, peers.tunnels(with: id, on: .direct).isEmpty else { return }
        known.removeValue(forKey: id)?.attempt?.leave("the tunnel through the relay has ended")
    }

    /// The node's tunnels are about to be left: nothing is made anew.
    func forget(_ id: TransportID) { known[id] = nil }

    private func leave(_ id: TransportID, _ why: String) {
        known.removeValue(forKey: id)?.attempt?.leave(why)
        for provider in peers.tunnels(with: id, on: .direct) { provider.leave(why) }
    }

    // MARK: Making

    /// Where the other node takes connections.
    func received(_ signal: Signal, from provider: PeerProvider) {
        let id = provider.remote
        guard known[id] != nil else { return }
        let candidates = signal.candidates.filter { $0.port > 0 && $0.ip.isCandidate }
        known[id]?.candidates = candidates
        // Switched on later, this side knows where to go.
        guard isEnabled else { return }
        guard !candidates.isEmpty, peers.tunnels(with: id, on: .direct).isEmpty else {
            known[id]?.nextTry = nil
            return
        }
        known[id]?.wait = Self.firstWait
        let soonest = known[id]?.lastTry.map { $0 + Self.pause } ?? loop.now
        let due = max(soonest, provider.isDialing ? loop.now : loop.now + Self.courtesy)
        let planned = known[id]?.nextTry ?? due
        known[id]?.nextTry = min(due, planned)
        tryIfDue(id)
    }

    private func tryIfDue(_ id: TransportID) {
        guard isEnabled, let peer = known[id], peer.attempt == nil, let nextTry = peer.nextTry, nextTry <= loop.now
        else { return }
        known[id]?.nextTry = nil
        guard peers.tunnels(with: id, on: .direct).isEmpty, !peers.tunnels(with: id, on: .relay).isEmpty else { return }
        known[id]?.lastTry = loop.now
        known[id]?.untried = peer.candidates[...]
        connect(id)
    }

    private func connect(_ id: TransportID) {
        guard let untried = known[id]?.untried, !untried.isEmpty else { return waitForNextRound(id) }
        let provider = PeerProvider(
            loop: loop, remote: id, configuration: configuration, connectingTo: Array(untried))
        // Who the node is was told already: what it is served by its name must not wait for the relay's answer.
        provider.nodeName = peers.active[id]?.nodeName ?? ""
        known[id]?.attempt = provider
        do throws(RouteFailure) {
            try peers.start(provider, on: .direct)
        } catch {
            known[id]?.attempt = nil
            waitForNextRound(id)
        }
    }

    private func waitForNextRound(_ id: TransportID) {
        // Other addresses that came during this round have their turn when they were to.
        guard let wait = known[id]?.wait, known[id]?.nextTry == nil else { return }
        known[id]?.nextTry = loop.now + wait
        known[id]?.wait = min(wait * 2, Self.longestWait)
    }

    /// Where somebody else has that address the others are still to be tried.
    private func attemptFailed(_ id: TransportID, _ provider: PeerProvider) {
        known[id]?.attempt = nil
        guard peers.tunnels(with: id, on: .direct).isEmpty else { return }
        let untried = known[id]?.untried ?? []
        guard let address = provider.directAddress, untried.contains(address) else { return waitForNextRound(id) }
        known[id]?.untried = untried.filter { $0 != address }[...]
        connect(id)
    }

    // MARK: The relay's consent

    /// What the relay says of nodes may have changed: it is asked about all that have no tunnel through it.
    func askAgain() {
        for (id, peer) in known {
            guard let due = peer.nextQuestion else { continue }
            known[id]?.nextQuestion = min(due, loop.now)
        }
        askRelay()
    }

    /// Asks what is to be asked, the longest overdue first: the rest has its turn later.
    private func askRelay() {
        guard !isClosed else { return }
        let isThere = peers.relay != nil && !peers.isRelayStopping
        let due = known.compactMap { id, peer in peer.nextQuestion.map { (id: id, at: $0) } }
            .filter { $0.at <= loop.now }
        for question in due.sorted(by: { $0.at < $1.at }) {
            guard !isThere || questions.take(now: loop.now) else { return }
            known[question.id]?.nextQuestion = loop.now + Self.pause
            if isThere { ask(about: question.id) }
        }
    }

    private func ask(about id: TransportID) {
        names.standing(of: id) { [weak self] standing in
            guard let self, let peer = known[id], peer.nextQuestion != nil else { return }
            switch standing {
            case nil: break
            case .unknown?: leave(id, "the relay does not know the node any more")
            case .here(let node)?, .away(let node)?:
                guard peer.madeRelayed && node.mayBeReached || peer.tookRelayed && node.mayReach else {
                    return leave(id, "the relay does not allow it any more")
                }
                known[id]?.nextQuestion = loop.now + Self.nextQuestion
                guard node.isHere, peer.madeRelayed, node.mayBeReached else { return }
                try? peers.dial(WantedTunnel(id: id, ways: [.relay]))
            }
        }
    }

    // MARK: Where this node is

    private func listen() {
        idleSince = nil
        guard listener == nil else { return }
        do throws(UVError) {
            listener = try DirectListener(
                loop: loop, port: settings.port, configuration: configuration, delegate: self)
            logger.info(
                "other nodes may connect directly",
                metadata: ["at": "\(ownCandidates().map(\.description).joined(separator: " "))"])
        } catch {
            sampler.log(
                .warning, kind: "direct", now: loop.now,
                "direct.port: other nodes can't connect directly: this host does not give the port",
                metadata: ["port": "\(settings.port)", "error": "\(error)"])
        }
    }

    private func ownCandidates() -> [TransportAddress] {
        guard let listener, let addresses = try? HostAddresses.current() else { return [] }
        return DirectCandidates.list(
            addresses, observed: observed, portV4: listener.portV4, portV6: listener.portV6)
    }

    private func lookAtAddresses() {
        guard isEnabled || !told.isEmpty, loop.now >= nextLook else { return }
        nextLook = loop.now + Self.look
        if isEnabled, !known.isEmpty { listen() }
        announce()
    }

    /// Tells the other nodes where this one takes connections, if that is not what they were told.
    @discardableResult
    private func announce() -> Bool {
        let now = isEnabled ? ownCandidates() : []
        guard now != told else { return false }
        told = now
        for id in known.keys {
            for provider in peers.tunnels(with: id, on: .relay) { provider.tunnel?.signal(Signal(candidates: now)) }
        }
        return true
    }

    /// Call it every second or so.
    func sweep() {
        for id in Array(known.keys) { tryIfDue(id) }
        askRelay()
        guard known.isEmpty else { return lookAtAddresses() }
        let idleSince = self.idleSince ?? loop.now
        self.idleSince = idleSince
        guard listener != nil, loop.now - idleSince >= Self.lingering else { return }
        listener?.close()
        listener = nil
        told = []
    }
}
