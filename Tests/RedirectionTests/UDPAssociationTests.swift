// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Proxying
import TestSupport
import Testing

@testable import Redirection

/// UDP ASSOCIATE: RFC 1928, 7.
@Suite struct UDPAssociationTests {
    /// A client with its TCP connection, its association's address, and a socket for datagrams.
    private struct Client {
        let control: TestPeer
        let relay: TransportAddress
        let socket: TestDatagrams

        func send(_ text: String, to destination: [UInt8], fragment: UInt8 = 0) {
            socket.send([0, 0, fragment] + destination + Array(text.utf8), to: relay)
        }
    }

    /// - Parameter named: the port that the client says it will send from; nil for that of its socket.
    private func associate(_ proxy: ProxySite, named: UInt16? = 0) throws -> Client {
        let control = try proxy.client()
        let socket = try TestDatagrams(proxy.site.loop)
        let port = named ?? socket.port
        control.send([5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, UInt8(port >> 8), UInt8(port & 0xFF)])
        try proxy.runner.run("an association") { control.received.count == 12 }
        let reply = control.received
        #expect(reply.prefix(10) == [5, 0, 5, 0, 0, 1, 127, 0, 0, 1])
        let relay = TransportAddress(.loopbackV4, port: UInt16(reply[10]) << 8 | UInt16(reply[11]))
        return Client(control: control, relay: relay, socket: socket)
    }

    private func service(_ proxy: ProxySite) throws -> TestDatagrams {
        let service = try TestDatagrams(proxy.site.loop)
        proxy.site.serve(service.port, .datagram)
        return service
    }

    private func name(_ host: String, _ port: UInt16) -> [UInt8] {
        [3, UInt8(host.utf8.count)] + Array(host.utf8) + [UInt8(port >> 8), UInt8(port & 0xFF)]
    }

    private func v4(_ port: UInt16) -> [UInt8] { [1, 192, 0, 2, 1, UInt8(port >> 8), UInt8(port & 0xFF)] }

    /// Each destination has a flow of its own, and its answers are told from the others' by their header.
    @Test func twoDestinations() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let (first, second) = (try service(proxy), try service(proxy))
        for service in [first, second] { service.echoes = true }
        let client = try associate(proxy)
        let (home, other) = (name("home", first.port), v4(second.port))
        client.send("one", to: home)
        try proxy.runner.run("an answer") { client.socket.received.count == 1 }
        client.send("two", to: other)
        try proxy.runner.run("another") { client.socket.received.count == 2 }
        client.send("three", to: home)
        client.send("", to: home)
        try proxy.runner.run("the rest") { client.socket.received.count == 4 }
        #expect(first.texts == ["one", "three", ""] && second.texts == ["two"])
        let expected = [
            [0, 0, 0] + home + Array("one".utf8), [0, 0, 0] + other + Array("two".utf8),
            [0, 0, 0] + home + Array("three".utf8), [0, 0, 0] + home,
        ]
        #expect(client.socket.received == expected)
        #expect(client.socket.senders.allSatisfy { $0 == client.relay })
        #expect(
            proxy.router.asked == [
                HostAndPort(host: "home", port: first.port), HostAndPort(host: "192.0.2.1", port: second.port),
            ])
        #expect(proxy.router.sources.allSatisfy { $0 == TransportAddress(.loopbackV4, port: client.socket.port) })
        #expect(proxy.port.flows == 2 && proxy.port.waiting == 0 && proxy.port.connections == 1)
        client.control.finish()
        try proxy.settled()
    }

    /// Hazard: a datagram from elsewhere is neither carried nor answered, before and after the client's first.
    @Test(arguments: [false, true]) func foreignSources(isNamed: Bool) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        service.echoes = true
        let client = try associate(proxy, named: isNamed ? nil : 0)
        let header = [0, 0, 0] + name("home", service.port)
        let otherHost = try TestDatagrams(proxy.site.loop, ip: try #require(IPAddress("127.0.0.2")))
        let otherPort = try TestDatagrams(proxy.site.loop)
        otherHost.send(header + [1], to: client.relay)
        if isNamed { otherPort.send(header + [2], to: client.relay) }
        proxy.runner.settle()
        #expect(service.received.isEmpty && proxy.router.asked.isEmpty)
        client.send("mine", to: name("home", service.port))
        try proxy.runner.run("an answer") { client.socket.received.count == 1 }
        otherHost.send(header + [3], to: client.relay)
        otherPort.send(header + [4], to: client.relay)
        client.send("again", to: name("home", service.port))
        try proxy.runner.run("another answer") { client.socket.received.count == 2 }
        #expect(service.texts == ["mine", "again"])
        #expect(otherHost.received.isEmpty && otherPort.received.isEmpty)
    }

    /// A client that names an address which is not its own is behind something that changes both.
    @Test func namedElsewhere() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        let control = try proxy.client()
        control.send([5, 1, 0, 5, 3, 0, 1, 10, 0, 0, 1, 0, 9])
        try proxy.runner.run("an association") { control.received.count == 12 }
        let relay = TransportAddress(
            .loopbackV4, port: UInt16(control.received[10]) << 8 | UInt16(control.received[11]))
        let socket = try TestDatagrams(proxy.site.loop)
        socket.send([0, 0, 0] + name("home", service.port) + [7], to: relay)
        try proxy.runner.run("the datagram") { service.received == [[7]] }
    }

    /// RFC 1928, 7: fragments are dropped, and so is what is not right; none of them makes its sender the client.
    @Test func fragmentsAndRubbish() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        let client = try associate(proxy)
        let rubbish = try TestDatagrams(proxy.site.loop)
        let home = name("home", service.port)
        let bad: [[UInt8]] = [
            [], [0], [0, 0, 0], [0, 0, 0, 1, 192], [1, 0, 0] + home + [1], [0, 0, 0, 9, 1, 2, 3],
            [0, 0, 0, 3, 0, 0, 80],
            [0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 5], [0, 0, 1] + home + [1], [0, 0, 0x80] + home + [1],
        ]
        for datagram in bad { rubbish.send(datagram, to: client.relay) }
        proxy.runner.settle()
        client.send("part", to: home, fragment: 1)
        client.send("whole", to: home)
        try proxy.runner.run("the whole one") { !service.texts.isEmpty }
        #expect(service.texts == ["whole"])
    }

    @Test(arguments: [false, true]) func endsWithItsConnection(isReset: Bool) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        service.echoes = true
        let client = try associate(proxy)
        client.send("one", to: name("home", service.port))
        try proxy.runner.run("an answer") { client.socket.received.count == 1 }
        // The connection takes what a client may send on it, and does nothing with it.
        client.control.send("noise")
        client.send("two", to: name("home", service.port))
        try proxy.runner.run("another answer") { client.socket.received.count == 2 }
        if isReset { client.control.reset() } else { client.control.finish() }
        try proxy.settled()
        client.send("three", to: name("home", service.port))
        proxy.runner.settle()
        #expect(service.texts == ["one", "two"])
        #expect(isReset || client.control.hasReceivedEnd)
    }

    /// The connection ends while routes are made and datagrams wait for them.
    @Test func endsBeforeTheRoute() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        proxy.router.silent = ["home"]
        let client = try associate(proxy)
        client.send("one", to: name("home", service.port))
        try proxy.runner.run("a wait") { proxy.port.flows == 1 }
        client.control.finish()
        try proxy.settled()
        proxy.router.release()
        proxy.runner.settle()
        try proxy.settled()
        #expect(service.received.isEmpty)
    }

    /// What comes before the route waits, up to 16 datagrams.
    @Test func earlyDatagramsWait() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        proxy.router.silent = ["home"]
        let client = try associate(proxy)
        for number in 0..<40 { client.send("\(number)", to: name("home", service.port)) }
        try proxy.runner.run("a wait") { proxy.port.flows == 1 }
        proxy.runner.settle()
        proxy.router.release()
        try proxy.runner.run("the first of them") { service.texts.count >= 16 }
        client.send("later", to: name("home", service.port))
        try proxy.runner.run("a later one") { service.texts.last == "later" }
        #expect(service.texts == (0..<16).map { "\($0)" } + ["later"])
        #expect(proxy.router.asked.count == 1)
    }

    @Test func bounds() throws {
        let proxy = try ProxySite {
            $0.flowsPerClient = 2
            $0.flows = 3
        }
        defer { proxy.end() }
        let services = try (0..<4).map { _ in try service(proxy) }
        let (first, second) = (try associate(proxy), try associate(proxy))
        for service in services { first.send("first", to: name("home", service.port)) }
        try proxy.runner.run("two flows and two datagrams less") {
            proxy.port.flows == 2 && proxy.port.counters.turnedAway == 2
        }
        for service in services { second.send("second", to: name("home", service.port)) }
        try proxy.runner.run("one flow more") { proxy.port.flows == 3 && proxy.port.counters.turnedAway == 5 }
        #expect(services.map(\.texts) == [["first", "second"], ["first"], [], []])
        first.control.finish()
        try proxy.runner.run("room") { proxy.port.flows == 1 }
        second.send("again", to: name("home", services[3].port))
        try proxy.runner.run("another flow") { services[3].texts == ["again"] }
        second.control.finish()
        try proxy.settled()
    }

    /// A flow that is idle ends, and begins anew with the next datagram; the association stays.
    @Test func idleFlowsEnd() throws {
        let proxy = try ProxySite { $0.flowTimeout = .milliseconds(100) }
        defer { proxy.end() }
        let service = try service(proxy)
        service.echoes = true
        let client = try associate(proxy)
        for round in 1...2 {
            client.send("hello", to: name("home", service.port))
            try proxy.runner.run("an answer") { client.socket.received.count == round }
            try proxy.runner.run("its end") { proxy.port.flows == 0 && proxy.site.directory.flows == 0 }
        }
        #expect(proxy.router.asked.count == 2 && proxy.port.connections == 1)
    }

    /// Where there is no route the client's datagrams do not each look for one; others' go on.
    @Test func noRoute() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        proxy.router.failures["nowhere"] = RouteFailure(.unreachable, "there is no such node")
        let client = try associate(proxy)
        for _ in 0..<20 { client.send("lost", to: name("nowhere", service.port)) }
        client.send("found", to: name("home", service.port))
        try proxy.runner.run("the other datagram") { service.texts == ["found"] }
        #expect(proxy.router.asked.map(\.host) == ["nowhere", "home"])
        #expect(proxy.port.counters.failed == 1 && proxy.site.log.contains("there is no such node"))
        // The far side takes none on that port.
        for _ in 0..<20 { client.send("lost", to: name("home", 9)) }
        try proxy.runner.run("a refusal") { proxy.port.counters.failed == 2 }
        client.control.finish()
        try proxy.settled()
    }

    @Test func sessionBreaks() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try service(proxy)
        let client = try associate(proxy)
        client.send("one", to: name("home", service.port))
        try proxy.runner.run("the datagram") { service.texts == ["one"] }
        proxy.site.breakSession()
        try proxy.runner.run("a failure") { proxy.port.counters.failed == 1 }
        client.send("two", to: name("home", service.port))
        proxy.runner.settle()
        #expect(service.texts == ["one"] && proxy.port.connections == 1)
        client.control.finish()
        try proxy.settled()
    }

    /// Over IPv6 the client is told an IPv6 address.
    @Test func overIPv6() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let port = try ProxyPort(
            loop: proxy.site.loop, addresses: [TransportAddress(.loopbackV6, port: 0)], credentials: nil,
            router: proxy.router, limits: ProxyPortLimits(connections: 1), log: .init(proxy.site.log.logger))
        let service = try service(proxy)
        service.echoes = true
        let control = try TestPeer.connect(proxy.site.loop, try #require(port.addresses.first?.port), ip: .loopbackV6)
        control.send([5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
        try proxy.runner.run("an association") { control.received.count == 24 }
        #expect(Array(control.received[2..<6]) == [5, 0, 0, 4])
        let relay = TransportAddress(
            .loopbackV6, port: UInt16(control.received[22]) << 8 | UInt16(control.received[23]))
        let socket = try TestDatagrams(proxy.site.loop, ip: .loopbackV6)
        let home = name("home", service.port)
        socket.send([0, 0, 0] + home + [7], to: relay)
        try proxy.runner.run("an answer") { socket.received == [[0, 0, 0] + home + [7]] }
    }
}
