// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Foundation
import Primitives
import TestSupport
import Testing

@testable import Redirection

@Suite("RedirectedRun")
struct RedirectedRunTests {
    @Test("a socket that is announced is joined to its far side", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func joined(_ ip: IPAddress) throws {
        let site = try RunSite()
        defer { site.end() }
        let place = TransportAddress(RunSite.node, port: try site.site.echo())
        let (peer, local) = try site.client(ip)
        site.site.runner.settle()
        #expect(!peer.isConnected, "it waits until it is announced")
        site.announce(local, to: place)
        try site.site.runner.run("connected") { peer.isConnected }
        #expect(try site.peer(local) == RunSite.place(place))
        #expect(site.router.asked == [HostAndPort(host: "\(RunSite.node)", port: place.port)])
        #expect(site.router.sources == [local])
        peer.send("through")
        peer.finish()
        try site.site.runner.run("echo") { peer.text == "through" && peer.hasReceivedEnd }
        try site.settled()
        #expect(try site.verdict(local) == 0)
    }

    @Test("the announcement may come before connect") func announcedFirst() throws {
        let site = try RunSite()
        defer { site.end() }
        let place = TransportAddress(RunSite.node, port: try site.site.echo())
        let local = TransportAddress(.loopbackV4, port: try freePort(site.site.loop))
        site.announce(local, to: place)
        try site.site.runner.run("announced") { site.run.connections == 1 }
        site.site.runner.settle()
        let peer = TestPeer()
        let target = TransportAddress(.loopbackV4, port: site.v4)
        let stream = try TCPStream.connect(
            loop: site.site.loop, to: target, from: local, readPool: site.site.loop.buffers, delegate: peer)
        stream.startReading()
        try site.site.runner.run("connected") { peer.isConnected }
        stream.reset()
        try site.settled()
    }

    @Test(
        "a route that is not there fails the connect",
        arguments: [
            (EndpointResetCode.refused, ECONNREFUSED), (.unreachable, EHOSTUNREACH), (.timedOut, ETIMEDOUT),
            (.notAllowed, EACCES), (.limit, ENOBUFS), (.sessionEnded, ENETUNREACH),
        ])
    func failed(_ code: EndpointResetCode, _ errno: Int32) throws {
        let site = try RunSite()
        defer { site.end() }
        site.router.failures["\(RunSite.node)"] = RouteFailure(code, "no")
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(RunSite.node, port: 5))
        try site.site.runner.run("failed") { peer.failure != nil }
        #expect(peer.failure?.name == "ECONNRESET" && !peer.isConnected)
        #expect(try site.verdict(local) == errno)
        #expect(try site.verdict(local) == 0, "it is told once")
        #expect(site.run.counters.failed == 1)
        try site.settled()
    }

    @Test("a failure waits for a connect that comes later") func failedFirst() throws {
        let site = try RunSite()
        defer { site.end() }
        site.router.failures["\(RunSite.node)"] = RouteFailure(.refused, "no")
        let local = TransportAddress(.loopbackV6, port: try freePort(site.site.loop, ip: .loopbackV6))
        site.announce(local, to: TransportAddress(RunSite.node, port: 5))
        try site.site.runner.run("announced") { site.run.counters.failed == 1 }
        let peer = TestPeer()
        let stream = try TCPStream.connect(
            loop: site.site.loop, to: TransportAddress(.loopbackV6, port: site.v6), from: local,
            readPool: site.site.loop.buffers, delegate: peer)
        try site.site.runner.run("failed") { peer.failure != nil }
        #expect(!peer.isConnected && stream.isClosed)
        try site.settled()
    }

    @Test("another user's announcements are not heard") func otherUser() throws {
        let site = try RunSite(user: geteuid() + 1)
        defer { site.end() }
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(RunSite.node, port: try site.site.echo()))
        site.site.runner.settle()
        #expect(!peer.isConnected && site.run.connections == 0 && site.router.asked.isEmpty)
    }

    @Test("connections are bounded") func bounded() throws {
        let site = try RunSite(connections: 1)
        defer { site.end() }
        let place = TransportAddress(RunSite.node, port: try site.site.echo())
        let (first, firstLocal) = try site.client()
        site.announce(firstLocal, to: place)
        try site.site.runner.run("connected") { first.isConnected }
        let (second, secondLocal) = try site.client()
        site.announce(secondLocal, to: place)
        try site.site.runner.run("turned away") { second.failure != nil }
        #expect(try site.verdict(secondLocal) == ENOBUFS)
        #expect(site.run.counters.turnedAway == 1 && site.run.connections == 1)
        first.reset()
        try site.settled()
    }

    @Test("an application that goes away while its way is looked for") func gone() throws {
        let site = try RunSite()
        defer { site.end() }
        site.router.silent = ["\(RunSite.node)"]
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(RunSite.node, port: try site.site.echo()))
        try site.site.runner.run("asked") { !site.router.asked.isEmpty }
        peer.close()
        site.router.release()
        try site.settled()
    }

    @Test("a port that is announced again before its first socket was met") func again() throws {
        let site = try RunSite()
        defer { site.end() }
        let local = TransportAddress(.loopbackV4, port: try freePort(site.site.loop))
        let first = try TestServer(site.site.loop)
        defer { first.close() }
        site.site.serve(first.port)
        site.announce(local, to: TransportAddress(RunSite.node, port: first.port))
        try site.site.runner.run("the first far side is connected") { first.peers.count == 1 }
        let place = TransportAddress(RunSite.node, port: try site.site.echo())
        site.announce(local, to: place)
        try site.site.runner.run("the first one is let go") { first.peers[0].isOver }
        let peer = TestPeer()
        let stream = try TCPStream.connect(
            loop: site.site.loop, to: TransportAddress(.loopbackV4, port: site.v4), from: local,
            readPool: site.site.loop.buffers, delegate: peer)
        stream.startReading()
        try site.site.runner.run("connected") { peer.isConnected }
        #expect(try site.peer(local) == RunSite.place(place))
        stream.reset()
        try site.settled()
    }

    @Test("the end of the run before an announced socket was met") func closedEarly() throws {
        let site = try RunSite()
        defer { site.end() }
        let server = try TestServer(site.site.loop)
        defer { server.close() }
        site.site.serve(server.port)
        let local = TransportAddress(.loopbackV4, port: try freePort(site.site.loop))
        site.announce(local, to: TransportAddress(RunSite.node, port: server.port))
        try site.site.runner.run("the far side is connected") { server.peers.count == 1 }
        site.run.close()
        try site.site.runner.run("it is let go") { server.peers[0].isOver }
        try site.settled()
    }

    @Test("the end of the run: who waits is told, who is connected goes on") func closed() throws {
        let site = try RunSite()
        defer { site.end() }
        let port = try site.site.echo()
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(RunSite.node, port: port))
        try site.site.runner.run("connected") { peer.isConnected }
        site.router.silent = ["\(RunSite.node)"]
        let (waiting, waitingLocal) = try site.client()
        site.announce(waitingLocal, to: TransportAddress(RunSite.node, port: port))
        try site.site.runner.run("asked") { site.router.asked.count == 2 }
        site.run.close()
        try site.site.runner.run("told") { waiting.failure != nil }
        site.router.release()
        peer.send("on")
        try site.site.runner.run("echo") { peer.text == "on" }
        peer.reset()
        try site.settled()
    }

    @Test("the session breaks") func broken() throws {
        let site = try RunSite()
        defer { site.end() }
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(RunSite.node, port: try site.site.echo()))
        try site.site.runner.run("connected") { peer.isConnected }
        site.site.breakSession()
        try site.site.runner.run("reset") { peer.failure?.name == "ECONNRESET" }
        try site.settled()
    }

    @Test("datagrams: a port for each destination, a flow for each socket") func datagrams() throws {
        let site = try RunSite()
        defer { site.end() }
        let service = try TestDatagrams(site.site.loop)
        service.echoes = true
        site.site.serve(service.port, .datagram)
        let place = TransportAddress(RunSite.node, port: service.port)
        let client = try TestDatagrams(site.site.loop, ip: .loopbackV6)
        let local = TransportAddress(.loopbackV6, port: client.port)
        let answer = try site.ask([1, 4] + RunSite.place(local) + RunSite.place(place))
        #expect(answer.count == 3 && answer[0] == 0)
        let target = UInt16(answer[1]) << 8 | UInt16(answer[2])
        #expect(try site.ask([1, 4] + RunSite.place(local) + RunSite.place(place)) == answer)
        client.send("datagram", to: TransportAddress(.loopbackV6, port: target))
        try site.site.runner.run("echo") { client.texts == ["datagram"] }
        #expect(client.senders == [TransportAddress(.loopbackV6, port: target)])
        #expect(try site.peer(local, target: target) == RunSite.place(place))
        #expect(try site.peer(local, target: target ^ 1).isEmpty)
        client.close()
    }

    @Test("questions for names to any server are answered", arguments: [false, true]) func nameServers(_ egress: Bool)
        throws
    {
        let site = try RunSite(egress: egress)
        defer { site.end() }
        site.nodes = ["home": .success(RunSite.node)]
        let client = try TestDatagrams(site.site.loop)
        // ID, flags, one question: home.natfwt.internal, AAAA, IN
        func question(_ name: [String]) -> [UInt8] {
            [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + name.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
                + [0, 0, 28, 0, 1]
        }
        for server in [IPAddress(v4: 0x0808_0808), IPAddress(v4: 0xC0A8_0101), .loopbackV4] {
            let place = TransportAddress(server, port: 53)
            let answer = try site.ask([1, 4] + RunSite.place(place) + RunSite.place(place))
            let target = TransportAddress(.loopbackV4, port: UInt16(answer[1]) << 8 | UInt16(answer[2]))
            let before = client.received.count
            client.send(question(["home", "natfwt", "internal"]), to: target)
            try site.site.runner.run("an answer") { client.received.count == before + 1 }
            #expect(client.received.last?.suffix(16) == RunSite.node.bytes[...])
            #expect(client.senders.last == target)
            // Another name: through the relay, where that leads to the server.
            let asked = site.router.asked.count
            client.send(question(["example", "org"]), to: target)
            site.site.runner.settle()
            #expect(site.router.asked.count == asked + (egress && server.isGlobal ? 1 : 0))
            #expect(site.names.counters.forwarded > 0 || !site.router.asked.isEmpty)
        }
        client.close()
    }

    @Test("another user's datagrams are dropped") func othersDatagrams() throws {
        let site = try RunSite(flows: 0)
        defer { site.end() }
        let client = try TestDatagrams(site.site.loop)
        let place = TransportAddress(IPAddress(v4: 0xC000_0201), port: 9)
        let answer = try site.ask([1, 4] + RunSite.place(place) + RunSite.place(place))
        client.send("no", to: TransportAddress(.loopbackV4, port: UInt16(answer[1]) << 8 | UInt16(answer[2])))
        site.site.runner.settle()
        #expect(site.router.asked.isEmpty)
    }

    @Test("who refuses for himself is told why, with his own number", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func refusedElsewhere(_ ip: IPAddress) throws {
        let site = try RunSite()
        defer { site.end() }
        site.router.failures["\(RunSite.node)"] = RouteFailure(.notAllowed, "no")
        let (peer, local) = try site.client(ip)
        let place = TransportAddress(RunSite.node, port: 5)
        let answer = try site.ask([1, 6] + RunSite.place(local) + RunSite.place(place) + [1, 2, 3, 4])
        #expect(answer == [6, UInt8(EACCES)] + RunSite.place(local) + [1, 2, 3, 4])
        site.site.runner.settle()
        #expect(peer.failure == nil, "the agent leaves the connection alone")
        peer.close()
        try site.settled()
    }

    @Test("who refuses for himself is told though many are at once") func manyRefusedElsewhere() throws {
        let site = try RunSite()
        defer { site.end() }
        site.router.failures["\(RunSite.node)"] = RouteFailure(.refused, "no")
        let place = RunSite.place(TransportAddress(RunSite.node, port: 5))
        let count: UInt16 = 60
        var told: Set<[UInt8]> = []
        for port in 1...count {
            let local = RunSite.place(TransportAddress(.loopbackV4, port: port))
            // More than the asker's socket has room for.
            site.tell([1, 6] + local + place + [0, 0, 0, 0])
            if port % 8 == 0 { try site.site.runner.run("heard") { site.run.counters.failed == port } }
        }
        try site.site.runner.run("all are told") {
            while let answer = site.heard() { told.insert(answer) }
            return told.count == count
        }
        try site.settled()
    }

    @Test("one who refuses for himself connects anew from the same port") func announcedAnew() throws {
        let site = try RunSite()
        defer { site.end() }
        let place = TransportAddress(RunSite.node, port: try site.site.echo())
        site.router.silent = ["\(RunSite.node)"]
        let (peer, local) = try site.client()
        let question = [1, 6] + RunSite.place(local) + RunSite.place(place) + [0, 0, 0, 1]
        site.tell(question)
        try site.site.runner.run("asked") { site.router.asked.count == 1 }
        site.router.silent = []
        site.tell(question)
        try site.site.runner.run("connected") { peer.isConnected }
        peer.reset()
        site.router.release()
        try site.settled()
    }

    @Test("ports for destinations to come", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func stocked(_ ip: IPAddress) throws {
        let site = try RunSite()
        defer { site.end() }
        let service = try TestDatagrams(site.site.loop)
        service.echoes = true
        site.site.serve(service.port, .datagram)
        let stock = try site.ask([1, 7, ip == .loopbackV4 ? 4 : 6, 2])
        #expect(stock.count == 6 && stock.prefix(2) == [7, ip == .loopbackV4 ? 4 : 6])
        let target = TransportAddress(ip, port: UInt16(stock[2]) << 8 | UInt16(stock[3]))
        let client = try TestDatagrams(site.site.loop, ip: ip)
        for index in 1...20 { client.send("\(index)", to: target) }
        site.site.runner.settle()
        #expect(site.router.asked.isEmpty, "nobody knows where to")
        // The same for both families: a mapped address has the node's IPv4 address.
        site.nodes = ["home": .success(RunSite.node)]
        _ = try site.ask([1, 5] + Array("home".utf8))
        let node = ip == .loopbackV4 ? IPAddress(v4: 0xC612_0008) : RunSite.node
        let place = TransportAddress(node, port: service.port)
        site.tell([1, 8, stock[2], stock[3]] + RunSite.place(place))
        try site.site.runner.run("echoes") { client.texts.count >= 16 }
        #expect(client.texts == (1...16).map { "\($0)" }, "what had come before, as far as it is kept")
        #expect(Set(client.senders) == [target])
        // It is given back, and another destination has it.
        let free: [UInt8] = [1, 9, stock[1], stock[2], stock[3]]
        #expect(try site.ask(free) == [7, stock[1], stock[2], stock[3]])
        #expect(try site.ask([1, 9, stock[1], 0, 0]) == [7, stock[1]])
        client.send("elsewhere", to: target)
        site.site.runner.settle()
        let other = TransportAddress(node, port: service.port ^ 1)
        #expect(site.router.asked.last?.port == place.port)
        site.tell([1, 8, stock[2], stock[3]] + RunSite.place(other))
        try site.site.runner.run("asked") { site.router.asked.last?.port == other.port }
        client.close()
    }

    @Test("names have an address of each family") func names() throws {
        let site = try RunSite()
        defer { site.end() }
        site.nodes = [
            "home.natfwt.internal": .success(RunSite.node), "slow": .failure(RouteFailure(.timedOut, "later")),
        ]
        let answer = try site.ask([1, 5] + Array("home.natfwt.internal".utf8))
        #expect(answer == [0] + RunSite.node.bytes + [198, 18, 0, 8])
        #expect(try site.ask([1, 5] + Array("nobody".utf8)).first == 1)
        #expect(try site.ask([1, 5] + Array("slow".utf8)).first == 2)
        // The IPv4 address leads to the node.
        let (peer, local) = try site.client()
        site.announce(local, to: TransportAddress(IPAddress(v4: 0xC612_0008), port: try site.site.echo()))
        try site.site.runner.run("connected") { peer.isConnected }
        #expect(site.router.asked.last?.host == "\(RunSite.node)")
        // One that was given to nobody does not.
        let (other, otherLocal) = try site.client()
        site.announce(otherLocal, to: TransportAddress(IPAddress(v4: 0xC612_0002), port: 1))
        try site.site.runner.run("failed") { other.failure != nil }
        #expect(try site.verdict(otherLocal) == EHOSTUNREACH)
    }
}

@Suite("RunQuestion")
struct RunQuestionTests {
    private static let local = TransportAddress(.loopbackV4, port: 40_001)
    private static let to = TransportAddress(RunSite.node, port: 22)
    private static let questions: [([UInt8], RunQuestion)] = [
        ([1, 1] + RunSite.place(local) + RunSite.place(to), .announce(local: local, to: to)),
        ([1, 2] + RunSite.place(local), .verdict(local: local)),
        ([1, 3] + RunSite.place(local) + [1, 2], .peer(local: local, target: 258)),
        ([1, 4] + RunSite.place(local) + RunSite.place(to), .flow(local: local, to: to)),
        ([1, 5] + Array("home".utf8), .name("home")),
        (
            [1, 6] + RunSite.place(local) + RunSite.place(to) + [1, 2, 3, 4],
            .connection(local: local, to: to, number: 0x0102_0304)
        ),
        ([1, 7, 4, 64], .stock(.v4, count: 64)), ([1, 7, 6, 1], .stock(.v6, count: 1)),
        ([1, 8, 1, 2] + RunSite.place(to), .bind(port: 258, to: to)), ([1, 9, 6, 1, 2], .free(.v6, port: 258)),
    ]

    @Test(arguments: questions) func read(_ message: [UInt8], _ question: RunQuestion) {
        #expect(RunQuestion(message.rawSpan) == question)
        guard message[1] != 5 else { return }
        for count in message.indices { #expect(RunQuestion(Array(message.prefix(count)).rawSpan) == nil) }
        #expect(RunQuestion((message + [0]).rawSpan) == nil)
    }

    @Test(arguments: [
        [0, 1], [2, 1], [1, 0], [1, 10], [1, 7, 5, 1], [1, 5, 0xFF], [1, 5] + [UInt8](repeating: 97, count: 301),
    ])
    func nonsense(_ message: [UInt8]) { #expect(RunQuestion(message.rawSpan) == nil) }
}

@Suite("MappedNodes")
struct MappedNodesTests {
    @Test("an address stands for the same node for good, and there are only so many") func stable() {
        var nodes = MappedNodes()
        let first = nodes.address(of: RunSite.node)
        for index in 1..<MappedNodes.most { #expect(nodes.address(of: IPAddress(v6: UInt128(index))) != nil) }
        #expect(nodes.address(of: IPAddress(v6: 0xFFFF_FFFF)) == nil)
        #expect(nodes.address(of: RunSite.node) == first)
        #expect(first.flatMap { nodes.node(at: $0) } == RunSite.node)
    }

    @Test("other addresses are what they are") func others() {
        let nodes = MappedNodes()
        for text in ["198.17.255.255", "198.20.0.0", "127.0.0.1", "2001:20::1"] {
            let address = IPAddress(text)
            #expect(address.flatMap { nodes.node(at: $0) } == address)
        }
        for text in ["198.18.0.0", "198.18.0.1", "198.19.255.255"] {
            #expect(IPAddress(text).flatMap { nodes.node(at: $0) } == nil)
        }
    }
}
