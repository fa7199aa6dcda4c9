// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Redirection

/// RFC 8305: a name whose first addresses lead nowhere. Addresses that swallow everything are ports of loopback at which
/// the kernel drops what comes.
@Suite struct HappyEyeballsTests {
    private static let dead = (1...20).map { IPAddress(v4: 0x7F00_0100 + $0) }

    /// A port at which a server listens on 127.0.0.1, and nobody answers at the other addresses.
    private struct Place {
        let server: TestServer
        var silent: [HeldTCPPort] = []

        init(_ loop: EventLoop, silent addresses: [IPAddress]) throws {
            let port = try freePort(loop)
            server = try TestServer(loop, port: port)
            server.onAccepted = { $0.echoes = true }
            silent = try addresses.map { try HeldTCPPort(loop: loop, address: TransportAddress($0, port: port)) }
        }

        func at(_ addresses: IPAddress...) -> [TransportAddress] {
            addresses.map { TransportAddress($0, port: server.port) }
        }
    }

    private func set(_ addresses: [TransportAddress], at port: ExposedTCPPort, _ site: Site) {
        let description = ServiceDescription(target: HostAndPort(host: "service.test", port: 80))
        site.directory.set(
            Service(description, loop: site.loop, addresses: addresses),
            for: ServiceDirectory.Port(kind: .stream, port: port.port))
    }

    private func acceptor(_ site: Site, _ addresses: [TransportAddress]) -> GatedAcceptor {
        let description = ServiceDescription(target: HostAndPort(host: "service.test", port: 80))
        let acceptor = GatedAcceptor(Service(description, loop: site.loop, addresses: addresses), site.directory)
        acceptor.gate.permitted = Set(addresses.map(\.ip))
        site.agent.acceptor = acceptor
        return acceptor
    }

    @Test func familiesAreTakenInTurn() throws {
        func order(_ texts: String...) -> [String] {
            let addresses = texts.compactMap { IPAddress($0) }.map { TransportAddress($0, port: 1) }
            return HappyEyeballs.interleaved(addresses).map { "\($0.ip)" }
        }
        #expect(order() == [])
        #expect(order("192.0.2.1") == ["192.0.2.1"])
        #expect(order("192.0.2.1", "192.0.2.2") == ["192.0.2.1", "192.0.2.2"])
        #expect(
            order("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2")
                == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"])
        #expect(order("192.0.2.1", "192.0.2.2", "2001:db8::1") == ["192.0.2.1", "2001:db8::1", "192.0.2.2"])
    }

    /// The way by IPv6 is dead, as it often is: what answers by IPv4 is there a quarter of a second later, and the other try is
    /// given up.
    @Test func aDeadFamilyCostsOneDelay() throws {
        let site = try Site()
        defer { site.end() }
        let place = try Place(site.loop, silent: [.loopbackV6])
        let port = try site.exposeTCP(to: 1)
        set(place.at(.loopbackV6, .loopbackV4), at: port, site)
        let begin = site.loop.now
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("an echo", within: .seconds(20)) { visitor.text == "hello" }
        #expect(site.loop.now - begin >= HappyEyeballs.delay, "the first one has its time")
        #expect(place.server.peers.count == 1 && site.directory.failures == 0)
        visitor.finish()
        try site.runner.run("nothing left") { site.directory.connections == 0 }
    }

    /// The second one does not wait for what has failed.
    @Test func aRefusalIsFollowedAtOnce() throws {
        let site = try Site()
        defer { site.end() }
        let place = try Place(site.loop, silent: [])
        let port = try site.exposeTCP(to: 1)
        // Each of them would otherwise take a quarter of a second.
        set((Self.dead.prefix(15) + [.loopbackV4]).flatMap { place.at($0) }, at: port, site)
        let begin = site.loop.now
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("an echo") { visitor.text == "hello" }
        #expect(site.loop.now - begin < HappyEyeballs.delay * 15)
    }

    /// The first one answers after the second was begun: the first that connects is taken, and is the only one that stays.
    @Test func theFirstThatConnectsIsTaken() throws {
        let site = try Site()
        defer { site.end() }
        let place = try Place(site.loop, silent: [.loopbackV6, Self.dead[0]])
        let acceptor = acceptor(site, place.at(.loopbackV6, Self.dead[0]))
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("two at once") { acceptor.gate.others == 1 }
        // Whoever listens there now gets the SYN when it is sent again.
        place.silent[0].close()
        let late = try TestServer(site.loop, ip: .loopbackV6, port: place.server.port)
        late.onAccepted = { $0.echoes = true }
        try site.runner.run("an echo", within: .seconds(30)) { visitor.text == "hello" }
        #expect(late.peers.count == 1 && acceptor.gate.others == 0 && acceptor.gate.settlements == 1)
    }

    @Test func whereNobodyAnswersItTimesOutOnce() throws {
        let limits = ServiceLimits(connectTimeout: .milliseconds(600), flowTimeout: .seconds(60), flows: 100)
        let site = try Site(services: limits)
        defer { site.end() }
        let place = try Place(site.loop, silent: Array(Self.dead.prefix(3)))
        let port = try site.exposeTCP(to: 1)
        set(place.at(Self.dead[0], Self.dead[1], Self.dead[2]), at: port, site)
        let begin = site.loop.now
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("its end") { visitor.isOver }
        let took = site.loop.now - begin
        // Two delays, and the patience with the last one.
        #expect(took >= .milliseconds(1_100) && site.directory.failures == 1, "\(took)")
        try site.runner.run("nothing left") { site.directory.connections == 0 }
    }

    /// A visitor who goes takes all that is tried for him with him.
    @Test func nothingStaysOfAVisitorWhoGoes() throws {
        let site = try Site()
        defer { site.end() }
        let place = try Place(site.loop, silent: Array(Self.dead.prefix(4)))
        let acceptor = acceptor(site, place.at(Self.dead[0], Self.dead[1], Self.dead[2], Self.dead[3]))
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("three at once") { acceptor.gate.others == 2 }
        visitor.reset()
        try site.runner.run("nothing left") { site.directory.connections == 0 }
        #expect(acceptor.gate.others == 0 && acceptor.gate.settlements == 1)
    }

    /// Where a node has no more connections to make, one address is tried after the other; each is judged when it is tried.
    @Test func withoutRoomForAnotherTheyAreTriedInTurn() throws {
        let limits = ServiceLimits(connectTimeout: .milliseconds(700), flowTimeout: .seconds(60), flows: 100)
        let site = try Site(services: limits)
        defer { site.end() }
        let place = try Place(site.loop, silent: [Self.dead[0], Self.dead[1]])
        let acceptor = acceptor(site, place.at(Self.dead[0], Self.dead[1], .loopbackV4))
        acceptor.gate.permitted = [Self.dead[0], .loopbackV4]
        acceptor.gate.mostOthers = 0
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        let begin = site.loop.now
        try site.runner.run("an echo") { visitor.text == "hello" }
        #expect(site.loop.now - begin >= .milliseconds(700))
        #expect(acceptor.gate.asked == [Self.dead[0], Self.dead[1], .loopbackV4])
        #expect(acceptor.gate.others == 0 && acceptor.gate.settlements == 1 && acceptor.gate.failures.isEmpty)
    }
}
