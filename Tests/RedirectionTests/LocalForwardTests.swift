// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

@Suite struct LocalForwardTests {
    private func forward(
        _ site: Site, _ router: TestRouter, to host: String = "home", _ port: UInt16,
        limits: LocalForwardLimits = LocalForwardLimits(connections: 100)
    ) throws -> LocalForward {
        try LocalForward(
            loop: site.loop, addresses: [TransportAddress(.loopbackV4, port: 0)],
            target: HostAndPort(host: host, port: port), router: router, limits: limits,
            log: LogSampler(site.log.logger))
    }

    private func connect(_ site: Site, _ forward: LocalForward) throws -> TestPeer {
        try TestPeer.connect(site.loop, try #require(forward.addresses.first?.port))
    }

    /// An application and the service's side of its connection.
    private func join(_ site: Site, _ server: TestServer, _ forward: LocalForward) throws -> (TestPeer, TestPeer) {
        let before = server.peers.count
        let application = try connect(site, forward)
        try site.runner.run("a connection to the service") { server.peers.count > before }
        return (application, server.peers[before])
    }

    private func settled(_ site: Site, _ forward: LocalForward) throws {
        try site.runner.run("nothing left over") {
            forward.connections == 0 && forward.waiting == 0 && site.directory.connections == 0
        }
        site.runner.settle(turns: 3)
        #expect(site.loop.buffers.leased == 0)
    }

    @Test func echoes() throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        let forward = try forward(site, router, try site.echo())
        let application = try connect(site, forward)
        application.send("hello")
        try site.runner.run("an echo") { application.text == "hello" }
        #expect(router.asked == [forward.target])
        #expect(router.sources == [application.stream?.localAddress])
        #expect(forward.connections == 1 && forward.waiting == 0 && forward.counters.accepted == 1)
        application.finish()
        try site.runner.run("the end") { application.hasReceivedEnd }
        try settled(site, forward)
    }

    enum First: CaseIterable { case application, service }

    @Test(arguments: First.allCases, [0, 1, 3_000_000]) func halfClose(first: First, bytes: Int) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        site.serve(server.port)
        let forward = try forward(site, TestRouter(site), server.port)
        let (application, service) = try join(site, server, forward)
        let (ending, going) = first == .application ? (application, service) : (service, application)
        var random = SeededRandom(3)
        let (request, answer) = (random.bytes(bytes), random.bytes(bytes))
        ending.send(request)
        ending.finish()
        try site.runner.run("the end of what was said") { going.hasReceivedEnd }
        #expect(going.received == request)
        #expect(!ending.hasReceivedEnd && forward.connections == 1)
        going.send(answer)
        going.finish()
        try site.runner.run("the other end") { ending.hasReceivedEnd }
        #expect(ending.received == answer)
        #expect(ending.failure == nil && going.failure == nil)
        try settled(site, forward)
    }

    @Test(arguments: First.allCases) func reset(first: First) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        site.serve(server.port)
        let forward = try forward(site, TestRouter(site), server.port)
        let (application, service) = try join(site, server, forward)
        let (resetting, other) = first == .application ? (application, service) : (service, application)
        other.send("something")
        try site.runner.run("something") { resetting.text == "something" }
        resetting.reset()
        try site.runner.run("a reset") { other.failure != nil }
        #expect(other.failure == .connectionReset && !other.hasReceivedEnd)
        try settled(site, forward)
    }

    @Test func failureIsTold() throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        router.failures["home"] = RouteFailure(.notAllowed, "home does not serve 22 to laptop")
        let forward = try forward(site, router, 22)
        let application = try connect(site, forward)
        application.send("early")
        try site.runner.run("a reset") { application.isOver }
        #expect(application.failure == .connectionReset)
        #expect(site.log.contains("home:22") && site.log.contains("home does not serve 22 to laptop"))
        #expect(forward.counters.failed == 1)
        try settled(site, forward)
    }

    /// The route is there, and then the far side does not take the endpoint.
    @Test(arguments: [EndpointResetCode.refused, .limit]) func refusalIsTold(code: EndpointResetCode) throws {
        let site = try Site()
        defer { site.end() }
        let acceptor = TestAcceptor()
        acceptor.refusal = code
        site.agent.acceptor = acceptor
        let forward = try forward(site, TestRouter(site), 22)
        let application = try connect(site, forward)
        try site.runner.run("a reset") { application.isOver }
        #expect(application.failure == .connectionReset)
        #expect(site.log.contains("home:22") && site.log.contains("\(code)"))
        #expect(forward.counters.failed == 1)
        try settled(site, forward)
    }

    @Test func bound() throws {
        let site = try Site()
        defer { site.end() }
        let forward = try forward(
            site, TestRouter(site), try site.echo(), limits: LocalForwardLimits(connections: 2))
        let (first, second) = (try connect(site, forward), try connect(site, forward))
        try site.runner.run("two connections") { forward.connections == 2 }
        let third = try connect(site, forward)
        try site.runner.run("a refusal") { third.isOver }
        #expect(third.failure == .connectionReset && forward.counters.turnedAway == 1)
        #expect(site.log.contains("turned away"))
        first.reset()
        try site.runner.run("a place") { forward.connections == 1 }
        let fourth = try connect(site, forward)
        for peer in [second, fourth] { peer.send("hello") }
        try site.runner.run("echoes") { second.text == "hello" && fourth.text == "hello" }
    }

    /// What is said and ended before there is a route waits for it.
    @Test(arguments: [5, 1_000_000]) func lateRoute(bytes: Int) throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        router.silent = ["home"]
        let forward = try forward(site, router, try site.echo())
        let application = try connect(site, forward)
        var random = SeededRandom(5)
        let said = random.bytes(bytes)
        application.send(said)
        application.finish()
        try site.runner.run("a wait") { forward.waiting == 1 }
        site.runner.settle()
        #expect(site.loop.buffers.leased == 0 || bytes > 5, "it waits in the kernel")
        router.release()
        try site.runner.run("the end") { application.hasReceivedEnd }
        #expect(application.received == said)
        try settled(site, forward)
    }

    /// The application leaves before there is a route, with and without having said something.
    @Test(arguments: [false, true]) func leavesBeforeTheRoute(says: Bool) throws {
        let site = try Site()
        defer { site.end() }
        let acceptor = TestAcceptor()
        site.agent.acceptor = acceptor
        let router = TestRouter(site)
        router.silent = ["home"]
        let forward = try forward(site, router, 22)
        let application = try connect(site, forward)
        if says { application.send("something") }
        try site.runner.run("a wait") { forward.waiting == 1 && application.isConnected }
        site.runner.settle(turns: 3)
        application.reset()
        try settled(site, forward)
        router.release()
        try site.runner.run("an end without an application") {
            acceptor.applications.allSatisfy { $0.end == .reset(.reset) }
        }
        #expect(forward.connections == 0 && forward.counters.failed == 0)
    }

    /// A half-close may be an application that waits for an answer: it is kept until the route takes too long.
    @Test func routeThatNeverAnswers() throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        defer { router.forget() }
        router.silent = ["home"]
        let forward = try forward(
            site, router, 22, limits: LocalForwardLimits(connections: 1, routing: .milliseconds(700)))
        let application = try connect(site, forward)
        application.finish()
        try site.runner.run("a wait") { forward.waiting == 1 }
        try site.runner.run("a reset") { application.isOver }
        #expect(application.failure == .connectionReset)
        #expect(site.log.contains("no route after"))
        try settled(site, forward)
    }

    @Test func closeKeepsWhatIsJoined() throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        defer { router.forget() }
        let forward = try forward(site, router, try site.echo())
        let joined = try connect(site, forward)
        joined.send("one")
        try site.runner.run("an echo") { joined.text == "one" }
        router.silent = ["home"]
        let waiting = try connect(site, forward)
        try site.runner.run("a wait") { forward.waiting == 1 }
        let port = try #require(forward.addresses.first?.port)
        forward.close()
        #expect(forward.addresses.isEmpty)
        try site.runner.run("a reset") { waiting.isOver }
        let late = try TestPeer.connect(site.loop, port)
        try site.runner.run("a refusal") { late.isOver }
        #expect(late.failure == .connectionRefused)
        joined.send(" two")
        try site.runner.run("another echo") { joined.text == "one two" }
        joined.finish()
        try settled(site, forward)
    }

    /// Several addresses share the port that the system has chosen; where one is refused none is kept.
    @Test func addresses() throws {
        let site = try Site()
        defer { site.end() }
        let router = TestRouter(site)
        let places = ["127.0.0.1", "127.0.0.2", "::1"].compactMap { IPAddress($0) }.map {
            TransportAddress($0, port: 0)
        }
        let make = { [loop = site.loop, log = site.log] (addresses: [TransportAddress]) throws(ListenFailure) in
            try LocalForward(
                loop: loop, addresses: addresses, target: HostAndPort(host: "home", port: 1), router: router,
                limits: LocalForwardLimits(connections: 1), log: LogSampler(log.logger))
        }
        let forward = try make(places)
        #expect(forward.addresses.map(\.ip) == places.map(\.ip))
        #expect(Set(forward.addresses.map(\.port)).count == 1)
        let free = try freePort(site.loop)
        let taken = forward.addresses[1]
        #expect(throws: ListenFailure(taken, .addressInUse)) {
            try make([TransportAddress(.loopbackV4, port: free), taken])
        }
        let late = try TestPeer.connect(site.loop, free)
        try site.runner.run("a refusal") { late.isOver }
        #expect(late.failure == .connectionRefused)
    }
}
