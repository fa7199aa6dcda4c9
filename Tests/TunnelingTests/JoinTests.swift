// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// MEET, JOIN and JOINED (tunnel protocol, "Joined connections").
@Suite struct JoinTests {
    private static let meet = Meet(
        token: Array(1...UInt8(Meet.tokenLength)), secret: Array(1...UInt8(Meet.secretLength)))
    private static let join = JoinRequest(token: meet.token, peer: .loopbackV6)

    private static func frame(_ type: UInt8, _ payload: [UInt8] = [], flags: UInt8 = 0) -> [UInt8] {
        HostileTunnelTests.frame(type, flags: flags, payload)
    }

    /// Writes down what comes on a tunnel that is being joined.
    private final class Watcher: TunnelDelegate {
        var joins: [JoinRequest] = []
        var joined = 0
        var hellos = 0
        func tunnelHasOutput(_ tunnel: Tunnel) {}
        func tunnel(_ tunnel: Tunnel, received hello: Hello) { hellos += 1 }
        func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {}
        func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {}
        func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {}
        func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {}
        func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {}
        func tunnel(_ tunnel: Tunnel, received join: JoinRequest) { joins.append(join) }
        func tunnelJoined(_ tunnel: Tunnel) { joined += 1 }
        func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) { stream.reset(.refused) }
    }

    @Test func meetArrivesAsItWasSentAndMayBeSkipped() throws {
        let pair = try TunnelPair()
        pair.dialer.tunnel.meet(Self.meet)
        let bytes = pair.dialer.output(now: pair.now)
        #expect(Array(bytes.prefix(4)) == [19, 0x80, 0, 50])
        try pair.acceptor.input(bytes, now: pair.now)
        #expect(pair.acceptor.meetings == [Self.meet])
        #expect(pair.dialer.tunnel.peerCapabilities == .own && pair.acceptor.tunnel.peerCapabilities == .own)
    }

    @Test(
        arguments: [
            [], [16], [15] + Array(repeating: 0, count: 15) + [32] + Array(repeating: 0, count: 32),
            [16] + Array(repeating: 0, count: 16) + [31] + Array(repeating: 0, count: 31),
            [16] + Array(repeating: 0, count: 16) + [32] + Array(repeating: 0, count: 31),
        ] as [[UInt8]])
    func aBrokenMeetEndsTheTunnel(payload: [UInt8]) throws {
        let pair = try TunnelPair()
        #expect(throws: TunnelError.self) {
            try pair.acceptor.input(Self.frame(19, payload, flags: 0x80), now: pair.now)
        }
        #expect(pair.acceptor.meetings.isEmpty)
    }

    /// From JOIN to the other node's first word, on the dialing and on the accepting side.
    @Test(arguments: [Tunnel.Role.dialing, .accepting])
    func joining(role: Tunnel.Role) throws {
        let now = Instant(nanoseconds: 1)
        let node = TunnelEnd(role: role, now: now)
        let relay = TunnelEnd(role: .accepting, now: now)
        let (atNode, atRelay) = (Watcher(), Watcher())
        node.tunnel.delegate = atNode
        relay.tunnel.delegate = atRelay
        node.tunnel.join(Self.join)
        try relay.input(node.output(now: now), now: now)
        #expect(atRelay.joins == [Self.join] && atRelay.joined == 0)
        relay.tunnel.joined()
        try node.input(relay.output(now: now), now: now)
        #expect(atNode.joined == 1 && node.tunnel.state == .new)
        if role == .accepting {
            let other = TunnelEnd(role: .dialing, now: now)
            other.tunnel.introduce(Hello(nodeName: "laptop", limits: TunnelLimits()), now: now)
            try node.input(other.output(now: now), now: now)
            #expect(atNode.hellos == 1)
        }
    }

    /// Whoever is in the middle could speak in the other node's name there.
    @Test func nothingMayStandBehindJoined() throws {
        let now = Instant(nanoseconds: 1)
        let node = TunnelEnd(role: .accepting, now: now)
        let watcher = Watcher()
        node.tunnel.delegate = watcher
        node.tunnel.join(Self.join)
        let liar = TunnelEnd(role: .dialing, now: now)
        liar.tunnel.introduce(Hello(nodeName: "laptop", limits: TunnelLimits()), now: now)
        let bytes = Self.frame(21) + liar.output(now: now)
        #expect(throws: TunnelError.self) { try node.input(bytes, now: now) }
        #expect(watcher.hellos == 0)
    }

    /// Each where it has no place: what was sent before, and what comes.
    @Test func outOfPlaceEndsTheTunnel() throws {
        let now = Instant(nanoseconds: 1)
        let join = Self.frame(20, [16] + Self.join.token + [6] + Array(repeating: 0, count: 18))
        for bytes in [Self.frame(21), join + join, join + Self.frame(21), Self.frame(20, [16, 1, 2])] {
            let relay = TunnelEnd(role: .accepting, now: now)
            let watcher = Watcher()
            relay.tunnel.delegate = watcher
            #expect(throws: TunnelError.self) { try relay.input(bytes, now: now) }
            #expect(watcher.joined == 0)
        }
        let pair = try TunnelPair()
        for end in [pair.acceptor, pair.dialer] {
            #expect(throws: TunnelError.self) { try end.input(join, now: pair.now) }
        }
        let unasked = TunnelEnd(role: .dialing, now: now)
        #expect(throws: TunnelError.self) { try unasked.input(Self.frame(21), now: now) }
    }

    /// Who makes one connection of two is told so; everybody else says that he doesn't.
    @Test func whoDoesNotJoinRefuses() throws {
        let now = Instant(nanoseconds: 1)
        let node = TunnelEnd(role: .dialing, now: now)
        let other = TunnelEnd(role: .accepting, now: now)
        node.tunnel.join(Self.join)
        try other.input(node.output(now: now), now: now)
        try node.input(other.output(now: now), now: now)
        #expect(node.goAways.map(\.code) == [.notAllowed])
    }
}
