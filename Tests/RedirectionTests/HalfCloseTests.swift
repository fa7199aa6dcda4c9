// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Redirection

/// How connections end, from a visitor through an exposed port and a service connection to a service, and back.
@Suite struct HalfCloseTests {
    /// A visitor and the service's side of its connection.
    private func join(_ site: Site, _ server: TestServer, _ port: ExposedTCPPort) throws -> (TestPeer, TestPeer) {
        let before = server.peers.count
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a connection to the service") { server.peers.count > before }
        return (visitor, server.peers[before])
    }

    private func settled(_ site: Site, _ port: ExposedTCPPort) throws {
        try site.runner.run("nothing left over") { port.visitors == 0 && site.directory.connections == 0 }
    }

    enum First: CaseIterable { case visitor, service }

    /// Whoever ends first may go on listening: what the other says afterwards still comes, then its end.
    @Test(arguments: First.allCases, [0, 1, 3_000_000]) func halfClose(first: First, bytes: Int) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        let (visitor, service) = try join(site, server, port)
        let (ending, going) = first == .visitor ? (visitor, service) : (service, visitor)
        var random = SeededRandom(3)
        let (request, answer) = (random.bytes(bytes), random.bytes(bytes))
        ending.send(request)
        ending.finish()
        try site.runner.run("the end of what was said") { going.hasReceivedEnd }
        #expect(going.received == request)
        #expect(!ending.hasReceivedEnd)
        #expect(port.visitors == 1)
        going.send(answer)
        site.runner.settle()
        going.finish()
        try site.runner.run("the other end") { ending.hasReceivedEnd }
        #expect(ending.received == answer)
        #expect(ending.failure == nil && going.failure == nil)
        try settled(site, port)
    }

    /// Both end at once, with bytes under way in both directions.
    @Test func bothEndAtOnce() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        let (visitor, service) = try join(site, server, port)
        var random = SeededRandom(4)
        let (there, back) = (random.bytes(500_000), random.bytes(700_000))
        visitor.send(there)
        service.send(back)
        visitor.finish()
        service.finish()
        try site.runner.run("both ends") { visitor.hasReceivedEnd && service.hasReceivedEnd }
        #expect(visitor.received == back && service.received == there)
        try settled(site, port)
    }

    /// A reset comes through as a reset, not as an end, from either side and in every state of the halves.
    @Test(arguments: First.allCases, [false, true]) func reset(first: First, afterEnd: Bool) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        let (visitor, service) = try join(site, server, port)
        let (resetting, other) = first == .visitor ? (visitor, service) : (service, visitor)
        if afterEnd {
            other.finish()
            try site.runner.run("the end") { resetting.hasReceivedEnd }
        } else {
            other.send("something")
            try site.runner.run("something") { resetting.text == "something" }
        }
        resetting.reset()
        try site.runner.run("a reset") { other.failure != nil }
        #expect(other.failure == .connectionReset)
        #expect(!other.hasReceivedEnd)
        try settled(site, port)
    }

    @Test func sessionEndResetsBoth() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        let (visitor, service) = try join(site, server, port)
        site.breakSession()
        try site.runner.run("resets") { visitor.failure != nil && service.failure != nil }
        #expect(visitor.failure == .connectionReset && service.failure == .connectionReset)
        try settled(site, port)
        let late = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a reset") { late.isOver }
        #expect(late.failure == .connectionReset)
        #expect(port.counters.turnedAway == 1)
    }

    /// The visitor sends all and ends at once: it is there before the service's connection is.
    @Test func earlyDataAndEarlyEnd() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        server.onAccepted = { $0.echoes = true }
        let visitors = try (0..<20).map { number in
            let visitor = try TestPeer.connect(site.loop, port.port)
            visitor.send("visitor \(number)")
            visitor.finish()
            return visitor
        }
        try site.runner.run("all echoes") { visitors.allSatisfy(\.hasReceivedEnd) }
        for (number, visitor) in visitors.enumerated() { #expect(visitor.text == "visitor \(number)") }
        try settled(site, port)
    }

    /// The endpoint is over while the service has not read what is left: it gets all of it all the same.
    @Test func bytesLeftAfterTheEnd() throws {
        let site = try Site(window: 64 << 20)
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        server.onAccepted = { $0.stopReading() }
        let (visitor, service) = try join(site, server, port)
        service.finish()
        try site.runner.run("the service's end") { visitor.hasReceivedEnd }
        var random = SeededRandom(6)
        let bytes = random.bytes(24 << 20)
        visitor.send(bytes)
        visitor.finish()
        try site.runner.run("the visitor is done") { port.visitors == 0 }
        #expect(site.directory.connections == 1, "more than the kernel's buffers hold is still to be written")
        service.startReading()
        try site.runner.run("the rest and the end") { service.hasReceivedEnd }
        #expect(service.received == bytes)
        #expect(service.failure == nil)
        try settled(site, port)
    }

    /// A service that does not read stops the visitor, with bounded memory; nothing is lost.
    @Test func backPressure() throws {
        let site = try Site(window: 64 << 10)
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        server.onAccepted = { $0.stopReading() }
        let (visitor, service) = try join(site, server, port)
        var random = SeededRandom(7)
        let bytes = random.bytes(32 << 20)
        visitor.send(bytes)
        visitor.finish()
        site.runner.settle(turns: 200)
        #expect((visitor.stream?.queuedBytes ?? 0) > 1 << 20, "the visitor has to wait")
        #expect(site.loop.buffers.leased < 40)
        service.startReading()
        try site.runner.run("everything") { service.hasReceivedEnd }
        #expect(service.received == bytes)
    }

    /// One half has ended, and nothing comes from the other: past the limit both are told.
    @Test func halfClosedLimit() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port, halfClosed: .milliseconds(200))
        let (visitor, service) = try join(site, server, port)
        let (idle, _) = try join(site, server, port)
        visitor.finish()
        try site.runner.run("the limit") { visitor.failure != nil && service.isOver }
        #expect(port.visitors == 1, "a connection whose halves are both open has no limit")
        #expect(idle.failure == nil)
    }
}

/// The bridge alone, where the order of things is the test's.
@Suite struct StreamBridgeTests {
    /// An endpoint with the bridge as its application, and what the far side sees of it.
    private func endpoint(_ site: Site, _ bridge: StreamBridge) throws -> (Endpoint, TestApplication) {
        let acceptor = TestAcceptor()
        site.agent.acceptor = acceptor
        let endpoint = try site.relay.openEndpoint(
            kind: .stream, from: site.owner.local, to: site.owner.remote, destination: EndpointDestination(port: 1),
            application: bridge, now: site.loop.now)
        bridge.join(endpoint)
        try site.runner.run("an endpoint") { acceptor.applications.count == 1 && endpoint.isOpen }
        return (endpoint, acceptor.applications[0])
    }

    private func socket(_ site: Site) throws -> (TCPStream, TestPeer) {
        let server = try TestServer(site.loop)
        var accepted: TCPStream?
        let holder = TestPeer()
        server.takes = { stream, _ in
            stream.delegate = holder
            accepted = stream
        }
        let peer = try TestPeer.connect(site.loop, server.port)
        try site.runner.run("a connection") { accepted != nil && peer.isConnected }
        server.takes = nil
        return (try #require(accepted), peer)
    }

    @Test(arguments: [false, true]) func whatIsEarlyIsKept(withEnd: Bool) throws {
        let site = try Site()
        defer { site.end() }
        let owner = Owner()
        let bridge = StreamBridge(owner: owner, loop: site.loop, halfClosed: nil)
        let (_, far) = try endpoint(site, bridge)
        far.endpoint?.send(site.loop.slice("early "))
        far.endpoint?.send(site.loop.slice("bytes"))
        if withEnd { far.endpoint?.finishSending() }
        site.runner.settle(turns: 3)
        let (socket, peer) = try socket(site)
        bridge.join(socket)
        try site.runner.run("the bytes") { peer.text == "early bytes" && peer.hasReceivedEnd == withEnd }
        if !withEnd { far.endpoint?.finishSending() }
        peer.finish()
        try site.runner.run("the end") { owner.ended == 1 && far.end == .finished }
        site.runner.settle(turns: 3)
        #expect(owner.ended == 1)
    }

    /// What an application had said before the bridge was there comes first, however long, and its end with it.
    @Test(arguments: [0, 7, 200_000], [false, true]) func beginsWithWhatWasSaid(bytes: Int, isAll: Bool) throws {
        let site = try Site()
        defer { site.end() }
        let owner = Owner()
        let bridge = StreamBridge(owner: owner, loop: site.loop, halfClosed: nil)
        let (_, far) = try endpoint(site, bridge)
        var random = SeededRandom(9)
        let early = random.bytes(bytes)
        bridge.begin(with: early, isAll: isAll)
        let (socket, peer) = try socket(site)
        bridge.join(socket)
        if !isAll { peer.send("later") }
        let expected = early + (isAll ? [] : Array("later".utf8))
        try site.runner.run("all of it") { far.received == expected && far.hasReceivedEnd == isAll }
        far.endpoint?.finishSending()
        peer.finish()
        try site.runner.run("the end") { owner.ended == 1 && far.end == .finished }
    }

    /// The endpoint is gone before there is a connection: the connection is reset.
    @Test func lateConnectionIsReset() throws {
        let site = try Site()
        defer { site.end() }
        let owner = Owner()
        let bridge = StreamBridge(owner: owner, loop: site.loop, halfClosed: nil)
        let (_, far) = try endpoint(site, bridge)
        far.endpoint?.send(site.loop.slice("lost"))
        far.endpoint?.reset(.reset)
        try site.runner.run("the end") { owner.ended == 1 }
        let (socket, peer) = try socket(site)
        bridge.join(socket)
        try site.runner.run("a reset") { peer.isOver }
        #expect(peer.failure == .connectionReset)
        #expect(peer.received.isEmpty)
    }

    @Test(arguments: [EndpointResetCode.refused, .unreachable, .timedOut])
    func refusalReachesTheFarSide(code: EndpointResetCode) throws {
        let site = try Site()
        defer { site.end() }
        let owner = Owner()
        let bridge = StreamBridge(owner: owner, loop: site.loop, halfClosed: nil)
        let (endpoint, far) = try endpoint(site, bridge)
        far.endpoint?.send(site.loop.slice("early"))
        site.runner.settle(turns: 3)
        bridge.refuse(code)
        #expect(endpoint.hasEnded)
        #expect(owner.ended == 1)
        try site.runner.run("the refusal") { far.end != nil }
        #expect(far.end == .reset(code))
        #expect(site.loop.buffers.leased == 0)
    }

    /// The bridge goes with its socket and its endpoint.
    @Test func nothingKeepsIt() throws {
        let site = try Site()
        defer { site.end() }
        let owner = Owner()
        weak var kept: StreamBridge?
        do {
            let bridge = StreamBridge(owner: owner, loop: site.loop, halfClosed: .seconds(60))
            kept = bridge
            let (_, far) = try endpoint(site, bridge)
            let (socket, peer) = try socket(site)
            bridge.join(socket)
            peer.finish()
            far.endpoint?.finishSending()
        }
        try site.runner.run("the end") { owner.ended == 1 }
        site.runner.settle(turns: 3)
        #expect(kept == nil)
    }
}
