// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
internal import Proxying
public import Telemetry

/// Answers questions of DNS: what ends with the suffix itself, and the names of nodes' addresses; everything else it has
/// other servers answer.
///
///     home.natfwt.internal  AAAA  its transport ID        2001:21:…      PTR  home.natfwt.internal
///                           A     its mapped address      198.18.x.y     PTR  home.natfwt.internal
///                           else  nothing (NODATA)        no node: NXDOMAIN · no word from the relay: SERVFAIL
///
/// It keeps no answers: what it tells may be kept for seconds. Owned by the loop.
public final class NameAnswerer {
    public private(set) var counters = NameCounters()
    /// What nodes' names end with.
    public let suffix: String
    private let zone: DNSName?
    let loop: EventLoop
    let servers: NameServers
    let finder: any NodeFinder
    let addresses: NodeAddresses
    private let mapsNodes: Bool
    private let forwarder: NameForwarder
    private let log: LogSampler

    /// For how many seconds an answer may be kept. A transport ID is a node's for good, but the node may be removed; a
    /// mapped address is another node's perhaps once the agent has started anew.
    static let lifetime: UInt32 = 30
    static let mappedLifetime: UInt32 = 5
    static let absenceLifetime: UInt32 = 5

    /// - Parameters:
    ///   - addresses: those of nodes, for applications that know IPv4 only too.
    ///   - servers: for all other names.
    ///   - mapsNodes: whether who asks for IPv4 gets a mapped address: not where none leads to a node.
    public init(
        loop: EventLoop, suffix: String, finder: any NodeFinder, addresses: NodeAddresses, servers: NameServers,
        mapsNodes: Bool = true, log: LogSampler
    ) {
        self.loop = loop
        self.suffix = suffix
        self.finder = finder
        self.addresses = addresses
        self.mapsNodes = mapsNodes
        self.servers = servers
        self.log = log
        zone = DNSName(suffix)
        forwarder = NameForwarder(loop: loop)
    }

    /// Nothing is answered any more, not even what was asked.
    public func close() { forwarder.close() }

    /// Answers one message.
    /// - Parameters:
    ///   - server: whom the application meant to ask, where it did not mean this answerer: names that are no node's go there.
    ///   - reply: called at most once, perhaps before this returns; not called for what is no question. Answers of other
    ///     servers are handed on as they are, also those that were cut (TC): over TCP nobody is asked.
    /// - Returns: false for what is no question, so that there will be no reply.
    @discardableResult
    public func answer(
        _ message: RawSpan, meantFor server: TransportAddress? = nil, _ reply: @escaping ([UInt8]) -> Void
    ) -> Bool {
        let query: DNSQuery
        do throws(DNSQueryFault) {
            query = try DNSQuery(message)
        } catch {
            counters.faulty += 1
            guard case .answered(let bytes) = error else { return false }
            reply(bytes)
            return true
        }
        answer(query, message, meantFor: server, reply)
        return true
    }

    private func answer(
        _ query: DNSQuery, _ message: RawSpan, meantFor server: TransportAddress?, _ reply: @escaping ([UInt8]) -> Void
    ) {
        guard let zone = zone(of: query) else { return forward(query, message, meantFor: server, reply) }
        counters.answered += 1
        guard query.queryClass == .internet || query.queryClass == .any else { return reply(query.failure(.refused)) }
        answer(query, in: zone, reply)
    }

    // MARK: What it knows itself

    /// Whether a message asks for something that needs no other server.
    public func answersItself(_ message: RawSpan) -> Bool {
        guard let query = try? DNSQuery(message) else { return false }
        return zone(of: query) != nil
    }

    private func zone(of query: DNSQuery) -> DNSName? {
        [zone].compactMap(\.self).first(where: query.name.isWithin) ?? reverseZone(of: query)
    }

    private static let reverseZones = ["18.198.in-addr.arpa", "19.198.in-addr.arpa", "2.0.0.1.0.0.2.ip6.arpa"]
        .compactMap(DNSName.init)

    private func reverseZone(of query: DNSQuery) -> DNSName? {
        NameAnswerer.reverseZones.first { query.name.isWithin($0) }
    }

    private func answer(_ query: DNSQuery, in zone: DNSName, _ reply: @escaping ([UInt8]) -> Void) {
        if query.name.text == zone.text {
            return reply(
                query.type == .soa
                    ? query.answer(authorityOf: zone, lifetime: NameAnswerer.absenceLifetime) : nothing(query, zone))
        }
        if zone == self.zone {
            answerForward(query, zone, reply)
        } else {
            answerReverse(query, zone, reply)
        }
    }

    private func nothing(_ query: DNSQuery, _ zone: DNSName, _ code: DNSResponseCode = .noError) -> [UInt8] {
        query.absence(code, in: zone, lifetime: NameAnswerer.absenceLifetime)
    }

    private func answerForward(_ query: DNSQuery, _ zone: DNSName, _ reply: @escaping ([UInt8]) -> Void) {
        guard let label = query.name.text?.dropLast(suffixLength), !label.contains(".") else {
            return reply(nothing(query, zone, .nameError))
        }
        finder.find(nodeNamed: String(label)) { [self] result in
            switch result {
            case .success(let node): reply(answer(query, zone, about: node))
            case .failure(let failure): reply(absence(query, zone, failure))
            }
        }
    }

    /// With the dot before it.
    private var suffixLength: Int { (zone?.text?.utf8.count ?? 0) + 1 }

    private func answer(_ query: DNSQuery, _ zone: DNSName, about node: IPAddress) -> [UInt8] {
        switch query.type {
        // RFC 8482, 4.1: for any type one will do.
        case .aaaa, .any: return query.answer(.address(node), lifetime: NameAnswerer.lifetime)
        case .a:
            guard mapsNodes, let address = addresses.mappedAddress(of: node) else { return nothing(query, zone) }
            return query.answer(.address(address), lifetime: NameAnswerer.mappedLifetime)
        default: return nothing(query, zone)
        }
    }

    private func absence(_ query: DNSQuery, _ zone: DNSName, _ failure: RouteFailure) -> [UInt8] {
        guard failure.isTemporary else { return nothing(query, zone, .nameError) }
        counters.failed += 1
        log.log(
            .info, kind: "names", now: loop.now, "a node's name can't be answered",
            metadata: ["why": "\(failure.message)"])
        return query.failure(.serverFailure)
    }

    private func answerReverse(_ query: DNSQuery, _ zone: DNSName, _ reply: @escaping ([UInt8]) -> Void) {
        // A part of such a name is no address, but there is something below it.
        guard let address = query.name.reversedAddress else { return reply(nothing(query, zone)) }
        guard case .node(let node) = addresses.meaning(of: address) else {
            return reply(nothing(query, zone, .nameError))
        }
        finder.find(nameOf: node) { [self] result in
            switch result {
            case .success(let name):
                guard query.type == .ptr || query.type == .any, let full = DNSName("\(name).\(suffix)") else {
                    return reply(nothing(query, zone))
                }
                reply(query.answer(.name(full), lifetime: NameAnswerer.mappedLifetime))
            case .failure(let failure): reply(absence(query, zone, failure))
            }
        }
    }

    // MARK: What others know

    private func forward(
        _ query: DNSQuery, _ message: RawSpan, meantFor server: TransportAddress?, _ reply: @escaping ([UInt8]) -> Void
    ) {
        guard query.type != .axfr, query.type != .ixfr else { return reply(query.failure(.refused)) }
        counters.forwarded += 1
        var bytes: [UInt8] = []
        bytes.append(copying: message)
        let servers = server.map { [$0] } ?? servers.current(now: loop.now)
        forwarder.forward(query, bytes, to: servers) { [self] answer in
            if answer == nil { failed(servers) }
            reply(answer ?? query.failure(.serverFailure))
        }
    }

    private func failed(_ servers: [TransportAddress]) {
        counters.failed += 1
        log.log(
            .info, kind: "names", now: loop.now, "a name can't be looked up: no server answers",
            metadata: ["servers": "\(servers.map(\.description).joined(separator: " "))"])
    }
}

/// What an answerer has seen. Owned by the loop.
public struct NameCounters: Sendable {
    /// Questions that it has answered itself.
    public var answered: UInt64 = 0
    /// Those for other servers.
    public var forwarded: UInt64 = 0
    /// Those of both kinds to which there was no answer.
    public var failed: UInt64 = 0
    /// Messages that were no question, or a faulty one.
    public var faulty: UInt64 = 0
    public init() {}
}
