// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

@Suite struct ExposedTCPPortTests {
    @Test func visitorsUpToTheLimit() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port, visitors: 2)
        let (first, second) = (
            try TestPeer.connect(site.loop, port.port), try TestPeer.connect(site.loop, port.port)
        )
        try site.runner.run("two visitors") { server.peers.count == 2 }
        let third = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a refusal") { third.isOver }
        #expect(third.failure == .connectionReset)
        #expect(port.visitors == 2 && port.counters.accepted == 2 && port.counters.turnedAway == 1)
        #expect(site.log.contains("limits.visitors-per-port"))
        #expect(first.failure == nil && second.failure == nil)
        first.reset()
        try site.runner.run("a place") { port.visitors == 1 }
        let fourth = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("the next visitor") { server.peers.count == 3 }
        #expect(fourth.failure == nil)
    }

    @Test func nobodyOwnsThePort() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        port.owner = nil
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a reset") { visitor.isOver }
        #expect(visitor.failure == .connectionReset)
        port.owner = site.owner
        _ = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a visitor") { server.peers.count == 1 }
    }

    enum Closing: CaseIterable { case stopAccepting, close }

    /// Visitors that are there go on, and no other comes.
    @Test(arguments: Closing.allCases) func endOfThePort(closing: Closing) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        server.onAccepted = { $0.echoes = true }
        let port = try site.exposeTCP(to: server.port)
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a visitor") { server.peers.count == 1 }
        if closing == .close { port.close() } else { port.stopAccepting() }
        let late = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a refusal") { late.failure != nil }
        #expect(late.failure == .connectionRefused)
        visitor.send("still here")
        try site.runner.run("an echo") { visitor.text == "still here" }
        visitor.finish()
        try site.runner.run("the end") { visitor.hasReceivedEnd && port.visitors == 0 }
    }

    @Test func busyPortIsTold() throws {
        let site = try Site()
        defer { site.end() }
        let other = try TestServer(site.loop)
        let limits = ExposedPortLimits(visitors: 1, flowTimeout: .seconds(1))
        let place = TransportAddress(.loopbackV4, port: other.port)
        #expect(throws: ListenFailure(place, .addressInUse)) {
            try ExposedTCPPort(
                loop: site.loop, platform: site.relay, addresses: [.loopbackV4], port: other.port, limits: limits,
                log: LogSampler(site.log.logger))
        }
    }

    /// Where one address of several can't be had, none is kept.
    @Test func allAddressesOrNone() throws {
        let site = try Site()
        defer { site.end() }
        let port = try freePort(site.loop)
        let elsewhere = IPAddress(v4: 0xC000_0201)
        let limits = ExposedPortLimits(visitors: 1, flowTimeout: .seconds(1))
        #expect(throws: ListenFailure(TransportAddress(elsewhere, port: port), .addressNotAvailable)) {
            try ExposedTCPPort(
                loop: site.loop, platform: site.relay, addresses: [.loopbackV4, elsewhere], port: port, limits: limits,
                log: LogSampler(site.log.logger))
        }
        let visitor = try TestPeer.connect(site.loop, port)
        try site.runner.run("a refusal") { visitor.isOver }
        #expect(visitor.failure == .connectionRefused)
    }

    /// What the acceptor refuses comes back as a reset, and costs no place.
    @Test func refusedByTheAgent() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        site.directory.remove(ServiceDirectory.Port(kind: .stream, port: port.port))
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a reset") { visitor.isOver }
        #expect(visitor.failure == .connectionReset)
        try site.runner.run("no visitor") { port.visitors == 0 }
    }
}

@Suite struct ExposedUDPPortTests {
    private func address(_ port: ExposedUDPPort) -> TransportAddress { TransportAddress(.loopbackV4, port: port.port) }

    private func service(_ datagrams: TestDatagrams) -> HostAndPort {
        HostAndPort(host: "127.0.0.1", port: datagrams.port)
    }

    /// Each visitor has a flow of its own, and gets its own answers.
    @Test func oneFlowAVisitor() throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let port = try site.exposeUDP(to: service(echo))
        let visitors = try (0..<5).map { _ in try TestDatagrams(site.loop, to: address(port)) }
        for round in 0..<3 {
            for (number, visitor) in visitors.enumerated() { visitor.send("\(number): \(round)") }
        }
        try site.runner.run("all echoes") { visitors.allSatisfy { $0.texts.count == 3 } }
        for (number, visitor) in visitors.enumerated() {
            #expect(visitor.texts == (0..<3).map { "\(number): \($0)" })
        }
        #expect(port.visitors == 5 && port.counters.accepted == 5)
        #expect(site.directory.flows == 5)
        #expect(Set(echo.senders).count == 5)
    }

    @Test func flowsExpire() throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let port = try site.exposeUDP(to: service(echo), flowTimeout: .milliseconds(100))
        let visitor = try TestDatagrams(site.loop, to: address(port))
        visitor.send("one")
        try site.runner.run("an echo") { visitor.texts == ["one"] }
        try site.runner.run("the flow's end") { port.visitors == 0 && site.directory.flows == 0 }
        visitor.send("two")
        try site.runner.run("an echo through another flow") { visitor.texts == ["one", "two"] }
        #expect(port.counters.accepted == 2)
        #expect(Set(echo.senders).count == 2, "the service's side is another socket")
    }

    @Test func flowsUpToTheLimit() throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let port = try site.exposeUDP(to: service(echo), visitors: 2)
        let visitors = try (0..<4).map { _ in try TestDatagrams(site.loop, to: address(port)) }
        for visitor in visitors { visitor.send("hello") }
        try site.runner.run("all are dealt with") { port.counters.accepted + port.counters.turnedAway == 4 }
        try site.runner.run("two echoes") { visitors.filter { !$0.texts.isEmpty }.count == 2 }
        #expect(port.visitors == 2 && port.counters.turnedAway == 2)
        #expect(site.log.contains("limits.flows-per-node"))
    }

    /// Two ports of one node share its flows, and a flow's end makes room on either.
    @Test func flowsOfANodeAreShared() throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let budget = FlowBudget(limit: 2)
        let ports = try (0..<2).map { _ in try site.exposeUDP(to: service(echo), flows: budget) }
        let visitors = try (0..<3).map { try TestDatagrams(site.loop, to: address(ports[$0 % 2])) }
        for visitor in visitors.prefix(2) {
            visitor.send("hello")
            try site.runner.run("an echo") { !visitor.texts.isEmpty }
        }
        visitors[2].send("one too many")
        try site.runner.run("a refusal") { ports[0].counters.turnedAway == 1 }
        #expect(budget.used == 2)
        ports[1].close()
        #expect(budget.used == 1)
        visitors[2].send("now")
        try site.runner.run("an echo of the third") { visitors[2].texts == ["now"] }
        ports[0].close()
        #expect(budget.used == 0)
    }

    /// The far side's own limit: the flow is refused, and its place is free again.
    @Test func refusedByTheAgent() throws {
        let site = try Site(
            services: ServiceLimits(connectTimeout: .seconds(30), flowTimeout: .seconds(60), flows: 1))
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let port = try site.exposeUDP(to: service(echo))
        let visitors = try (0..<2).map { _ in try TestDatagrams(site.loop, to: address(port)) }
        for visitor in visitors { visitor.send("hello") }
        try site.runner.run("one flow of two") { port.counters.accepted == 2 && port.visitors == 1 }
        #expect(site.directory.flows == 1)
    }

    @Test func closingEndsFlows() throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        let port = try site.exposeUDP(to: service(echo))
        let visitors = try (0..<3).map { _ in try TestDatagrams(site.loop, to: address(port)) }
        for visitor in visitors { visitor.send("hello") }
        try site.runner.run("flows") { echo.texts.count == 3 }
        port.stopAccepting()
        let late = try TestDatagrams(site.loop, to: address(port))
        late.send("late")
        visitors[0].send("again")
        try site.runner.run("a flow that goes on") { echo.texts.contains("again") }
        #expect(!echo.texts.contains("late"))
        port.close()
        try site.runner.run("the end of all flows") { port.visitors == 0 && site.directory.flows == 0 }
    }

    @Test(arguments: [0, 1, 1_200, 9_000]) func sizesAreKept(size: Int) throws {
        let site = try Site()
        defer { site.end() }
        let echo = try TestDatagrams(site.loop)
        echo.echoes = true
        let port = try site.exposeUDP(to: service(echo))
        let visitor = try TestDatagrams(site.loop, to: address(port))
        let text = String(repeating: "x", count: size)
        visitor.send(text)
        try site.runner.run("an echo") { visitor.texts == [text] }
    }
}
