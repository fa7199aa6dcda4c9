// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// Knows who is who, and leads nowhere.
private final class Names: PacketRouter {
    var names: [UInt128: [String]] = [TestPacket.there: ["there"], TestPacket.elsewhere: ["elsewhere"]]

    func openPackets(
        to node: TransportID, application: any EndpointApplication,
        completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        completion(.failure(RouteFailure(.unreachable, "nowhere")))
    }

    func names(of node: TransportID) -> [String] { names[node.address.value] ?? [] }

    /// Local ports whose programs may not begin anything.
    var closedPorts: Set<UInt16> = []
    private(set) var asked: [Endpoint.Kind] = []

    func mayBegin(_ kind: Endpoint.Kind, from local: TransportAddress, to remote: TransportAddress) -> Bool {
        asked.append(kind)
        return !closedPorts.contains(local.port)
    }
}

/// A policy with rules, and a clock that a test moves.
private final class Guarded {
    let site: Site
    let served: ServedPorts
    let router = Names()
    var policy: PacketPolicy
    var now = Instant(nanoseconds: 1_000_000_000)

    init(_ rules: [ServeRule], flows: Int = 1_024) throws {
        site = try Site()
        served = ServedPorts(directory: site.directory, log: LogSampler(site.log.logger))
        served.rules = rules
        policy = PacketPolicy(
            own: TestPacket.here, served: served, router: router, flows: PacketFlows(most: flows, seed: 1))
    }

    deinit { site.end() }

    func sends(_ packet: TestPacket) throws -> PacketDrop? { policy.send(try packet.parsed(), now: now) }

    func receives(_ packet: TestPacket, from peer: UInt128 = TestPacket.there) throws -> PacketDrop? {
        let bytes = packet.bytes
        return policy.receive(try packet.parsed(), bytes.span.bytes, from: peer, now: now)
    }

    static func rule(_ kind: Endpoint.Kind, _ port: UInt16, to node: String, host: String = "127.0.0.1") -> ServeRule {
        ServeRule(kind: kind, ports: [port...port], nodes: [node], host: host)
    }
}

@Suite struct PacketPolicyTests {
    private typealias P = TestPacket

    @Test func onlyItsOwnSourceLeavesAndOnlyForNodes() throws {
        let host = try Guarded([])
        #expect(try host.sends(P.udp(1, 2)) == nil)
        #expect(try host.sends(P.udp(1, 2).from(P.elsewhere, to: P.there)) == .source)
        #expect(try host.sends(P.udp(1, 2).from(P.here, to: P.here)) == .destination)
        #expect(try host.sends(P.udp(1, 2).from(P.here, to: 0x2001_0db8 << 96)) == .destination)
        #expect(try host.sends(P.udp(1, 2).from(P.here, to: 0xFF02 << 112 | 1)) == .destination)
        // A router solicitation, a neighbour's question.
        for type in [133, 135, 143] as [UInt8] { #expect(try host.sends(P.icmp(type)) == .transport) }
    }

    /// Who may not use what carries the packets begins nothing; what is served is answered, whoever's it is.
    @Test func onlyWhoMayBegins() throws {
        let host = try Guarded([Guarded.rule(.datagram, 53, to: "*")])
        host.router.closedPorts = [4_000, 53]
        #expect(try host.sends(P.tcp(4_000, 80, flags: .syn)) == .notPermitted)
        #expect(try host.sends(P.udp(4_000, 80)) == .notPermitted)
        #expect(try host.sends(P.udp(4_001, 80)) == nil)
        #expect(try host.sends(P.udp(53, 1_000)) == nil)
        #expect(host.router.asked == [.stream, .datagram, .datagram])
        // Asked once a flow, and with each connection.
        #expect(try host.sends(P.udp(4_001, 80)) == nil)
        #expect(try host.sends(P.tcp(4_001, 80, flags: .syn)) == nil)
        #expect(try host.sends(P.tcp(4_001, 80)) == nil)
        #expect(host.router.asked.count == 4)
        host.router.closedPorts = [4_001]
        #expect(try host.sends(P.tcp(4_001, 80, flags: .syn)) == .notPermitted)
        #expect(try host.sends(P.tcp(4_001, 80)) == nil)
        #expect(try host.sends(P.icmp(128)) == nil)
    }

    @Test func nobodySpeaksForAnother() throws {
        let host = try Guarded([Guarded.rule(.stream, 22, to: "*")])
        let packet = P.tcp(1_000, 22, flags: .syn).back()
        #expect(try host.receives(packet) == nil)
        #expect(try host.receives(packet, from: P.elsewhere) == .source)
        #expect(try host.receives(packet.from(P.there, to: P.elsewhere)) == .destination)
        #expect(try host.receives(packet.from(P.here, to: P.here)) == .source)
    }

    @Test func onlyWhatIsServedComesIn() throws {
        let host = try Guarded([Guarded.rule(.stream, 22, to: "there"), Guarded.rule(.datagram, 53, to: "*")])
        let syn = P.tcp(1_000, 22, flags: .syn)
        #expect(try host.receives(syn.back()) == nil)
        #expect(try host.receives(P.tcp(1_000, 22).back()) == nil)
        #expect(try host.receives(syn.from(P.elsewhere, to: P.here), from: P.elsewhere) == .notServed)
        #expect(try host.receives(P.tcp(1_000, 23, flags: .syn).back()) == .notServed)
        // The port, but not the protocol.
        #expect(try host.receives(P.udp(1_000, 22).back()) == .notServed)
        #expect(try host.receives(P.tcp(1_000, 53, flags: .syn).back()) == .notServed)
        #expect(try host.receives(P.udp(1_000, 53).from(P.elsewhere, to: P.here), from: P.elsewhere) == nil)
    }

    /// A rule for another host's service says nothing of this host's ports.
    @Test func aRuleForAnotherHostOpensNothingHere() throws {
        let host = try Guarded([Guarded.rule(.stream, 22, to: "*", host: "192.0.2.1")])
        #expect(try host.receives(P.tcp(1_000, 22, flags: .syn).back()) == .notServed)
    }

    @Test func whatIsNoLongerServedStops() throws {
        let host = try Guarded([Guarded.rule(.datagram, 53, to: "*")])
        #expect(try host.receives(P.udp(1_000, 53).back()) == nil)
        host.served.rules = []
        #expect(try host.receives(P.udp(1_000, 53).back()) == .notServed)
    }

    @Test func answersComeIn() throws {
        let host = try Guarded([])
        let answer = P.tcp(80, 4_000, flags: [.syn, .ack])
        #expect(try host.receives(answer.from(P.there, to: P.here)) == .notServed)
        #expect(try host.sends(P.tcp(4_000, 80, flags: .syn)) == nil)
        #expect(try host.receives(answer.from(P.there, to: P.here)) == nil)
        // From the same node's other port, to this host's other port, from another node.
        #expect(try host.receives(P.tcp(81, 4_000).from(P.there, to: P.here)) == .notServed)
        #expect(try host.receives(P.tcp(80, 4_001).from(P.there, to: P.here)) == .notServed)
        #expect(try host.receives(answer.from(P.elsewhere, to: P.here), from: P.elsewhere) == .notServed)
        // A connection of the other node's is no answer.
        #expect(try host.receives(P.tcp(80, 4_000, flags: .syn).from(P.there, to: P.here)) == .notServed)
        #expect(try host.sends(P.udp(5_000, 53)) == nil)
        #expect(try host.receives(P.udp(53, 5_000).from(P.there, to: P.here)) == nil)
    }

    @Test func flowsAge() throws {
        let host = try Guarded([])
        #expect(try host.sends(P.udp(5_000, 53)) == nil)
        #expect(try host.sends(P.tcp(4_000, 80, flags: .syn)) == nil)
        #expect(try host.sends(P.tcp(4_001, 80, flags: .syn)) == nil)
        #expect(try host.receives(P.tcp(80, 4_000, flags: [.syn, .ack]).from(P.there, to: P.here)) == nil)
        host.now = host.now + .seconds(61)
        #expect(try host.receives(P.udp(53, 5_000).from(P.there, to: P.here)) == .notServed)
        #expect(try host.receives(P.tcp(80, 4_001).from(P.there, to: P.here)) == nil)
        host.now = host.now + .seconds(7_000)
        #expect(try host.receives(P.tcp(80, 4_000).from(P.there, to: P.here)) == nil)
        // It has ended: what follows has minutes.
        #expect(try host.receives(P.tcp(80, 4_000, flags: [.fin, .ack]).from(P.there, to: P.here)) == nil)
        host.now = host.now + .seconds(241)
        #expect(try host.receives(P.tcp(80, 4_000).from(P.there, to: P.here)) == .notServed)
    }

    @Test func echoes() throws {
        let host = try Guarded([Guarded.rule(.stream, 22, to: "there")])
        #expect(try host.receives(P.icmp(ICMPv6.echoRequest).back()) == nil)
        #expect(
            try host.receives(P.icmp(ICMPv6.echoRequest).from(P.elsewhere, to: P.here), from: P.elsewhere)
                == .notServed)
        #expect(try host.sends(P.icmp(ICMPv6.echoReply)) == nil)
        #expect(try host.receives(P.icmp(ICMPv6.echoReply, identifier: 9).back()) == .notServed)
        #expect(try host.sends(P.icmp(ICMPv6.echoRequest, identifier: 9)) == nil)
        #expect(try host.receives(P.icmp(ICMPv6.echoReply, identifier: 9).back()) == nil)
        #expect(try host.receives(P.icmp(135).back()) == .transport)
    }

    /// An error is about a flow of this host with the node that says it.
    @Test func errors() throws {
        let host = try Guarded([])
        let mine = P.udp(5_000, 53)
        func error(about packet: P, from peer: UInt128 = P.there) throws -> PacketDrop? {
            try host.receives(P.icmp(1, payload: packet.bytes).from(peer, to: P.here), from: peer)
        }
        #expect(try error(about: mine) == .notServed)
        #expect(try host.sends(mine) == nil)
        #expect(try error(about: mine) == nil)
        #expect(try error(about: mine, from: P.elsewhere) == .source)
        #expect(try error(about: mine.from(P.elsewhere, to: P.there)) == .source)
        #expect(try host.receives(P.icmp(1, payload: [1, 2, 3]).back()) == .malformed)
        // Of a long packet only the beginning is there.
        let long = P.udp(5_000, 53, payload: [UInt8](repeating: 0, count: 2_000)).bytes.prefix(1_232)
        #expect(try host.receives(P.icmp(1, payload: Array(long)).back()) == nil)
    }

    /// A node that sends from every port pushes out none of this host's own flows.
    @Test func aNodeCannotPushOutThisHostsFlows() throws {
        let host = try Guarded([Guarded.rule(.datagram, 53, to: "*")], flows: 256)
        for port in 1...100 as ClosedRange<UInt16> { #expect(try host.sends(P.udp(port, 9)) == nil) }
        for port in 1...20_000 as ClosedRange<UInt16> { #expect(try host.receives(P.udp(port, 53).back()) == nil) }
        let alive = try (1...100 as ClosedRange<UInt16>).filter {
            try host.receives(P.udp(9, $0).from(P.there, to: P.here)) == nil
        }
        #expect(alive.count == 100)
        #expect(host.policy.flows.count(now: host.now) <= 256)
    }
}

@Suite struct UnreachableMessageTests {
    /// A checksum is right where the sum over everything is all ones (RFC 1071, 1).
    @Test func isAPacketThatAKernelTakes() throws {
        let original = TestPacket.tcp(4_000, 80, flags: .syn, payload: 3_000)
        let message = try #require(
            UnreachableMessage(
                .address, from: TestPacket.there, about: try original.parsed(), original.bytes.span.bytes))
        let packet = try IPv6Packet(message.bytes.span.bytes)
        #expect(packet.source == TestPacket.there && packet.destination == TestPacket.here)
        #expect(packet.icmpType == 1 && message.bytes[41] == 3 && message.bytes.count == 1_280)
        #expect(Array(message.bytes[48...]) == Array(original.bytes.prefix(1_232)))
        var sum = InternetChecksum()
        sum.add(message.bytes.span.bytes.extracting(8..<message.bytes.count))
        sum.add(UInt128(message.bytes.count - 40))
        sum.add(UInt128(58))
        #expect(sum.value == 0)
    }

    @Test func noErrorIsAnsweredByAnother() throws {
        let error = TestPacket.icmp(3)
        #expect(
            UnreachableMessage(.address, from: 0, about: try error.parsed(), error.bytes.span.bytes) == nil)
    }
}
