// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Redirection

@Suite struct ServiceConnectionTests {
    private func setService(_ site: Site, _ port: ExposedTCPPort, _ addresses: [TransportAddress]) {
        let description = ServiceDescription(target: HostAndPort(host: "service.test", port: 80))
        site.directory.set(
            Service(description, loop: site.loop, addresses: addresses),
            for: ServiceDirectory.Port(kind: .stream, port: port.port))
    }

    @Test func refusingServiceResetsItsVisitor() throws {
        let site = try Site()
        defer { site.end() }
        let port = try site.exposeTCP(to: try freePort(site.loop))
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("early")
        try site.runner.run("a reset") { visitor.isOver }
        #expect(visitor.failure == .connectionReset)
        try site.runner.run("nothing left") { site.directory.connections == 0 && port.visitors == 0 }
        #expect(site.directory.failures == 1)
        #expect(site.log.contains("refused"))
    }

    @Test func secondAddressAnswers() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        server.onAccepted = { $0.echoes = true }
        let port = try site.exposeTCP(to: server.port)
        setService(
            site, port,
            [
                TransportAddress(.loopbackV4, port: try freePort(site.loop)),
                TransportAddress(.loopbackV4, port: server.port),
            ])
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("an echo") { visitor.text == "hello" }
        #expect(site.directory.failures == 0)
    }

    @Test func unknownNameIsTold() throws {
        let site = try Site()
        defer { site.end() }
        let port = try site.exposeTCP(to: 1)
        site.directory.set(
            ServiceDescription(target: HostAndPort(host: "no such name", port: 80)),
            for: ServiceDirectory.Port(kind: .stream, port: port.port))
        let visitors = try (0..<3).map { _ in try TestPeer.connect(site.loop, port.port) }
        try site.runner.run("resets") { visitors.allSatisfy(\.isOver) }
        try site.runner.run("nothing left") { site.directory.connections == 0 }
        #expect(site.directory.failures == 3)
    }

    @Test func namesAreLookedUp() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        server.onAccepted = { $0.echoes = true }
        let port = try site.exposeTCP(to: 1)
        site.directory.set(
            ServiceDescription(target: HostAndPort(host: "localhost", port: server.port)),
            for: ServiceDirectory.Port(kind: .stream, port: port.port))
        let visitors = try (0..<5).map { _ in try TestPeer.connect(site.loop, port.port) }
        for visitor in visitors { visitor.send("hello") }
        try site.runner.run("echoes") { visitors.allSatisfy { $0.text == "hello" } }
    }

    /// The header of PROXY protocol v2 (its specification, 2.2) stands before the first byte of the visitor.
    @Test func proxyHeader() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port, proxyHeader: true)
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("the first bytes") { (server.peers.first?.received.count ?? 0) >= 33 }
        let source = try #require(visitor.stream?.localAddress?.port)
        var expected: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
        expected += [0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]
        expected += [UInt8(source >> 8), UInt8(source & 0xFF), UInt8(port.port >> 8), UInt8(port.port & 0xFF)]
        #expect(server.peers[0].received == expected + Array("hello".utf8))
    }

    /// The visitor leaves while the service is still being reached: nothing is left of it.
    @Test(arguments: 0..<6) func visitorLeavesEarly(turns: Int) throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        let visitor = try TestPeer.connect(site.loop, port.port)
        site.runner.settle(turns: turns)
        visitor.reset()
        site.runner.settle()
        try site.runner.run("nothing left") { port.visitors == 0 && site.directory.connections == 0 }
        #expect(server.peers.allSatisfy { $0.isOver })
    }

    @Test func otherKindOfPortIsAnother() throws {
        let site = try Site()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let port = try site.exposeTCP(to: server.port)
        site.directory.remove(ServiceDirectory.Port(kind: .stream, port: port.port))
        site.directory.set(
            ServiceDescription(target: HostAndPort(host: "127.0.0.1", port: server.port)),
            for: ServiceDirectory.Port(kind: .datagram, port: port.port))
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("a reset") { visitor.isOver }
        #expect(server.peers.isEmpty)
    }
}

@Suite struct ServiceFlowTests {
    private func visitor(_ site: Site, _ port: ExposedUDPPort) throws -> TestDatagrams {
        try TestDatagrams(site.loop, to: TransportAddress(.loopbackV4, port: port.port))
    }

    /// What comes while the name is looked up waits, up to 4 datagrams.
    @Test(arguments: [1, 4, 40]) func earlyDatagramsWait(count: Int) throws {
        let site = try Site()
        defer { site.end() }
        let service = try TestDatagrams(site.loop)
        let port = try site.exposeUDP(to: HostAndPort(host: "localhost", port: service.port))
        let visitor = try visitor(site, port)
        for number in 0..<count { visitor.send("\(number)") }
        try site.runner.run("the first of them") { service.texts.count >= min(count, 4) }
        #expect(Array(service.texts.prefix(4)) == (0..<min(count, 4)).map { "\($0)" })
        visitor.send("later")
        try site.runner.run("a later one") { service.texts.last == "later" }
    }

    @Test func unknownNameEndsTheFlow() throws {
        let site = try Site()
        defer { site.end() }
        let port = try site.exposeUDP(to: HostAndPort(host: "no such name", port: 53))
        let visitor = try visitor(site, port)
        visitor.send("hello")
        try site.runner.run("a failure") { site.directory.failures == 1 && site.directory.flows == 0 }
        try site.runner.run("no flow") { port.visitors == 0 }
        visitor.send("again")
        try site.runner.run("another try") { site.directory.failures == 2 }
    }

    /// Nobody listens (ICMP port unreachable): the flow lives on, for whoever comes.
    @Test func deafServiceKeepsTheFlow() throws {
        let site = try Site()
        defer { site.end() }
        let gone = try TestDatagrams(site.loop)
        let target = HostAndPort(host: "127.0.0.1", port: gone.port)
        gone.close()
        let port = try site.exposeUDP(to: target)
        let visitor = try visitor(site, port)
        visitor.send("one")
        try site.runner.run("a flow") { site.directory.flows == 1 }
        site.runner.settle()
        visitor.send("two")
        site.runner.settle()
        #expect(site.directory.flows == 1 && port.visitors == 1)
    }

    @Test func idleFlowsEnd() throws {
        let site = try Site(
            services: ServiceLimits(connectTimeout: .seconds(30), flowTimeout: .milliseconds(100), flows: 10))
        defer { site.end() }
        let service = try TestDatagrams(site.loop)
        let port = try site.exposeUDP(to: HostAndPort(host: "127.0.0.1", port: service.port))
        let visitor = try visitor(site, port)
        visitor.send("hello")
        try site.runner.run("a flow") { service.texts.count == 1 }
        try site.runner.run("its end") { site.directory.flows == 0 && port.visitors == 0 }
    }
}
