// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import Redirection
import Settings
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// A relay that lets nodes out to this host's loopback, and a node that may go out.
private final class EgressSite {
    let site: RelaySite
    let node: TestAgent

    init(
        permissions: Permissions = Permissions(expose: [], egress: true),
        change: (inout RelaySettings) -> Void = { _ in }
    )
        throws
    {
        let loopback = try #require(AddressPrefix("127.0.0.0/8"))
        site = try RelaySite { settings in
            settings.egress.allow = true
            settings.egress.also = [loopback]
            change(&settings)
        }
        node = try site.join("laptop", permissions)
    }

    var loop: EventLoop { site.loop }
    var runner: LoopRunner { site.runner }
    var egress: Egress { site.relay.nodes.egress }

    func open(_ kind: Endpoint.Kind = .stream, _ destination: EndpointDestination) throws -> TestApplication {
        let application = TestApplication()
        let endpoint = try node.platform.openEndpoint(
            kind: kind, from: node.provider.local, to: node.provider.remote, destination: destination,
            over: node.instance, application: application, now: loop.now)
        if !endpoint.hasEnded { application.adopt(endpoint) }
        return application
    }

    func open(_ kind: Endpoint.Kind = .stream, host: String = "127.0.0.1", at port: UInt16) throws -> TestApplication {
        guard let address = IPAddress(host) else { return try open(kind, EndpointDestination(port: port, host: host)) }
        return try open(kind, EndpointDestination(port: port, address: address))
    }

    /// How it ends that something is opened.
    func end(_ kind: Endpoint.Kind = .stream, host: String = "127.0.0.1", at port: UInt16) throws -> EndpointEnd? {
        let application = try open(kind, host: host, at: port)
        try runner.run("an end of \(host)") { application.end != nil }
        return application.end
    }

    func end() {
        node.platform.shutdown(now: loop.now)
        runner.settle()
        #expect(egress.connections == 0 && egress.flows == 0, "nothing is left behind")
        site.end()
    }
}

private let forbidden = EndpointEnd.reset(.notAllowed)

/// What passes.
@Suite struct EgressTests {
    @Test(arguments: ["127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433", "::ffff:127.0.0.1"])
    func bytesPassBothWaysAndEachHalfEndsByItself(host: String) throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        let near = try out.open(host: host, at: server.port)
        #expect(!near.isOpen, "not before the host has taken it")
        try out.runner.run("a connection") { near.isOpen && server.peers.count == 1 }
        near.endpoint?.send(out.loop.slice("a question"))
        near.endpoint?.finishSending()
        let far = try #require(server.peers.first)
        try out.runner.run("the question and its end") { far.text == "a question" && far.hasReceivedEnd }
        #expect(!near.hasReceivedEnd)
        far.send("an answer, after the end")
        far.finish()
        try out.runner.run("the answer") { near.end == .finished }
        #expect(near.text == "an answer, after the end")
        #expect(out.egress.refusals == 0)
    }

    /// What is sent before the host has answered waits, and comes first.
    @Test func earlyBytesAreNotLost() throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        server.onAccepted = { $0.echoes = true }
        let near = try out.open(host: "localhost", at: server.port)
        near.endpoint?.send(out.loop.slice("early "))
        try out.runner.run("a connection") { near.isOpen }
        near.endpoint?.send(out.loop.slice("and late"))
        try out.runner.run("both") { near.text == "early and late" }
    }

    @Test func bulk() throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        server.onAccepted = { $0.echoes = true }
        let near = try out.open(at: server.port)
        let pattern = Pattern(seed: 7)
        near.pattern = pattern
        near.keeps = false
        let total = 8 << 20
        var sent = 0
        try out.runner.run("all bytes, there and back") {
            while sent < total, let endpoint = near.endpoint, endpoint.sendRoom > 0 {
                let count = min(60_000, total - sent)
                endpoint.send(pattern.slice(at: sent, count: count, from: out.loop.buffers))
                sent += count
            }
            return near.count == total
        }
        #expect(near.isIntact)
    }

    @Test func resetsPassBothWays() throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        let first = try out.open(at: server.port)
        try out.runner.run("a connection") { first.isOpen && server.peers.count == 1 }
        server.peers[0].reset()
        try out.runner.run("its reset") { first.end == .reset(.reset) }
        let second = try out.open(at: server.port)
        try out.runner.run("a connection") { second.isOpen && server.peers.count == 2 }
        second.endpoint?.reset(.reset)
        try out.runner.run("its reset") { server.peers[1].failure?.isReset == true }
    }

    @Test(arguments: ["127.0.0.1", "localhost"]) func datagramsPass(host: String) throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestDatagrams(out.loop)
        server.echoes = true
        let near = try out.open(.datagram, host: host, at: server.port)
        near.endpoint?.send(out.loop.slice("one "))
        try out.runner.run("an echo") { near.text == "one " }
        near.endpoint?.send(out.loop.slice("two"))
        try out.runner.run("another") { near.text == "one two" }
        #expect(Set(server.senders).count == 1 && out.egress.flows == 1)
        near.endpoint?.finishSending()
        try out.runner.run("the flow's end") { out.egress.flows == 0 }
    }

    // MARK: What fails

    @Test func refusalsOfTheHostAreToldAsSuch() throws {
        let out = try EgressSite()
        defer { out.end() }
        #expect(try out.end(at: try freePort(out.loop)) == .reset(.refused))
        #expect(try out.end(host: "no-such-name.invalid", at: 80) == .reset(.unreachable))
        #expect(try out.end(.datagram, host: "no-such-name.invalid", at: 80) == .reset(.unreachable))
        #expect(out.egress.failures == 3 && out.egress.refusals == 0)
    }

    /// The second time the name's addresses are known, so that it is judged before the endpoint is even taken.
    @Test func aKnownNameIsJudgedAgain() throws {
        let out = try EgressSite { $0.egress.also = [] }
        defer { out.end() }
        for kind in [Endpoint.Kind.stream, .datagram, .stream, .datagram] {
            #expect(try out.end(kind, host: "localhost", at: 80) == forbidden)
        }
        // Allowed meanwhile.
        let loopback = try #require(AddressPrefix("127.0.0.0/8"))
        out.site.reload { $0.egress.also = [loopback] }
        let server = try TestServer(out.loop)
        let near = try out.open(host: "localhost", at: server.port)
        try out.runner.run("a connection") { near.isOpen }
    }

    @Test func hostsThatDoNotAnswerAreGivenUp() throws {
        let out = try EgressSite { $0.timeouts.connect = .milliseconds(200) }
        defer { out.end() }
        let silent = try SilentHost(out.loop)
        defer { silent.close() }
        #expect(try out.end(at: silent.port) == .reset(.timedOut))
    }

    // MARK: Bounds

    @Test func dialsOfANodeAreBounded() throws {
        let out = try EgressSite { $0.limits.dialsPerNode = 2 }
        defer { out.end() }
        let silent = try SilentHost(out.loop)
        defer { silent.close() }
        let server = try TestServer(out.loop)
        let waiting = try (0..<2).map { _ in try out.open(at: silent.port) }
        #expect(try out.end(at: server.port) == .reset(.limit))
        #expect(out.site.log.contains("limits.dials-per-node"))
        #expect(waiting.allSatisfy { !$0.isOpen && $0.end == nil })
        // Another node is not concerned.
        let other = try EgressPeer(out.site, "other")
        let near = try other.open(at: server.port)
        try out.runner.run("the other's connection") { near.isOpen }
        near.endpoint?.reset(.noError)
        // Who goes away leaves no dial behind.
        waiting[0].endpoint?.reset(.noError)
        try out.runner.run("its end") { out.egress.connections == 1 }
        let third = try out.open(at: server.port)
        try out.runner.run("room for another") { third.isOpen }
    }

    @Test func whatIsConnectedIsNoDial() throws {
        let out = try EgressSite { $0.limits.dialsPerNode = 1 }
        defer { out.end() }
        let server = try TestServer(out.loop)
        for _ in 0..<5 {
            let near = try out.open(at: server.port)
            try out.runner.run("a connection") { near.isOpen }
        }
        for _ in 0..<3 { #expect(try out.end(at: try freePort(out.loop)) == .reset(.refused)) }
        #expect(out.egress.connections == 5)
    }

    @Test func flowsOfANodeAreBounded() throws {
        let out = try EgressSite { $0.limits.flowsPerNode = 1 }
        defer { out.end() }
        let server = try TestDatagrams(out.loop)
        let first = try out.open(.datagram, at: server.port)
        try out.runner.run("a flow") { first.isOpen }
        #expect(try out.end(.datagram, at: server.port) == .reset(.limit))
        first.endpoint?.finishSending()
        try out.runner.run("its end") { out.egress.flows == 0 }
        let second = try out.open(.datagram, at: server.port)
        try out.runner.run("a flow") { second.isOpen }
    }
}

/// What does not.
@Suite struct EgressRefusalTests {
    @Test func nobodyIsLetOutByDefault() throws {
        let out = try EgressSite { $0.egress = RelaySettings.Egress() }
        defer { out.end() }
        #expect(try out.end(at: try TestServer(out.loop).port) == forbidden)
        #expect(try out.end(host: "example.org", at: 443) == forbidden)
        #expect(out.site.log.contains("egress.allow is off") && out.site.log.contains("laptop"))
    }

    @Test func onlyNodesWithThePermissionAreLetOut() throws {
        let out = try EgressSite(permissions: .standard)
        defer { out.end() }
        let server = try TestServer(out.loop)
        #expect(try out.end(at: server.port) == forbidden)
        #expect(out.site.log.contains("the registry does not let this node out"))
        #expect(server.peers.isEmpty)
    }

    /// Addresses in every spelling, with nothing allowed beyond what is public. The resolver is asked where it is no
    /// address, and its answer judged.
    @Test(arguments: [
        "127.0.0.1", "127.0.0.2", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0", "0.0.0.0", "::1", "::",
        "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "localhost", "LocalHost", "10.0.0.1", "172.16.0.1",
        "192.168.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "fe80::1", "fd00:ec2::254", "224.0.0.1",
        "ff02::1", "255.255.255.255", "192.0.2.1", "2001:db8::1", "2002:7f00:1::1", "2001:20::1", "198.18.0.1",
    ])
    func whatIsNotPublicIsNeverReached(host: String) throws {
        let out = try EgressSite { $0.egress.also = [] }
        defer { out.end() }
        let server = try TestServer(out.loop)
        let datagrams = try TestDatagrams(out.loop)
        #expect(try out.end(host: host, at: server.port) == forbidden)
        #expect(try out.end(.datagram, host: host, at: datagrams.port) == forbidden)
        #expect(server.peers.isEmpty && datagrams.received.isEmpty)
        #expect(out.egress.refusals >= 2 && out.egress.failures == 0)
        #expect(out.site.log.contains("a node is not let out"))
    }

    @Test func theRelayItselfIsNeverReached() throws {
        let outer = TransportAddress(IPAddress(v4: 0xCB00_7205), port: 443)
        let out = try EgressSite { settings in
            settings.egress.also = []
            settings.publicAddress = [HostAndPort(host: "203.0.114.5", port: 443)]
        }
        defer { out.end() }
        var own = ["\(outer.ip)"]
        own += try HostAddresses.current().map { "\($0)" }
        for address in own { #expect(try out.end(host: address, at: out.site.port) == forbidden) }
        #expect(out.site.log.contains("it is an address of the relay itself"))
        #expect(out.site.log.lines.contains { $0.contains("203.0.114.5") && $0.contains("relay itself") })
    }

    @Test func exceptIsStrongerThanAlso() throws {
        let here = try #require(AddressPrefix("127.0.0.1"))
        let out = try EgressSite { $0.egress.except = [here] }
        defer { out.end() }
        #expect(try out.end(at: try TestServer(out.loop).port) == forbidden)
        #expect(try out.end(host: "localhost", at: 80) == forbidden)
        let other = try TestServer(out.loop, ip: IPAddress(v4: 0x7F00_0002))
        let near = try out.open(host: "127.0.0.2", at: other.port)
        try out.runner.run("a connection") { near.isOpen }
    }

    @Test func portsAreLeftOut() throws {
        let out = try EgressSite()
        defer { out.end() }
        for port: UInt16 in [0, 25] { #expect(try out.end(host: "localhost", at: port) == forbidden) }
        #expect(out.site.log.contains("egress.ports leaves the port out"))
        #expect(try out.end(host: "localhost", at: 24) == .reset(.refused))
    }

    /// A node's own words, past what a well-behaved provider would send.
    @Test(arguments: ["", "a b", "a/b", "::1", "a\u{0}b", "höst", String(repeating: "a", count: 255)])
    func whatIsNoNameIsNotLookedUp(host: String) throws {
        let out = try EgressSite()
        defer { out.end() }
        let request = OpenRequest(
            kind: .stream, destination: .host(HostAndPort(host: host, port: 80)), source: .none)
        let watcher = StreamWatcher()
        _ = out.node.provider.tunnel?.open(request, delegate: watcher, now: out.loop.now)
        try out.runner.run("a refusal") { watcher.code != nil }
        #expect(watcher.code == .protocolViolation)
        #expect(out.node.isActive)
    }

    // MARK: Changes

    @Test func reloadTurnsItOff() throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        let datagrams = try TestDatagrams(out.loop)
        let near = try out.open(at: server.port)
        let flow = try out.open(.datagram, at: datagrams.port)
        try out.runner.run("a connection and a flow") { near.isOpen && flow.isOpen && server.peers.count == 1 }
        // A file that can't be read changes nothing.
        let error = #expect(throws: SettingsError.self) {
            try RelaySettings.parse("[egress]\nalso = [\"10.0.0.1/8\"]", file: "relay.toml")
        }
        out.site.reload(try #require(error))
        #expect(out.egress.policy != nil)
        out.site.reload { $0.egress.allow = false }
        try out.runner.run("the end of both") { near.end == forbidden && flow.end == forbidden }
        try out.runner.run("the host's end") { server.peers[0].isOver }
        #expect(try out.end(at: server.port) == forbidden)
        out.site.reload { $0.egress.allow = true }
        let again = try out.open(at: server.port)
        try out.runner.run("a connection") { again.isOpen }
    }

    @Test func theOperatorChangesItsMind() throws {
        let out = try EgressSite(permissions: .standard)
        defer { out.end() }
        let server = try TestServer(out.loop)
        #expect(try out.end(at: server.port) == forbidden)
        try out.site.allow("laptop") { $0.egress = true }
        let near = try out.open(at: server.port)
        try out.runner.run("a connection") { near.isOpen }
        // Something else is changed: what is open goes on.
        try out.site.allow("laptop") { $0.expose = [] }
        out.runner.settle()
        #expect(near.end == nil)
        try out.site.allow("laptop") { $0.egress = false }
        try out.runner.run("its end") { near.end == forbidden }
        #expect(try out.end(at: server.port) == forbidden)
        #expect(out.node.isActive)
    }

    /// What a node has under way to other nodes, and what visitors have to it, is not egress.
    @Test func onlyEgressEndsWithIt() throws {
        let out = try EgressSite(permissions: Permissions(expose: Permissions.standard.expose, egress: true))
        defer { out.end() }
        let acceptor = TestAcceptor()
        out.node.platform.acceptor = acceptor
        let port = try out.site.expose(out.node, .tcp, 0).port
        let visitor = try TestPeer.connect(out.loop, port)
        try out.runner.run("a visitor") { acceptor.applications.count == 1 }
        try out.site.allow("laptop") { $0.egress = false }
        visitor.send("still here")
        try out.runner.run("its bytes") { acceptor.applications.first?.text == "still here" }
        out.node.platform.acceptor = nil
    }

    @Test func statusTellsOfIt() throws {
        let out = try EgressSite()
        defer { out.end() }
        let server = try TestServer(out.loop)
        let near = try out.open(at: server.port)
        try out.runner.run("a connection") { near.isOpen }
        #expect(try out.end(host: "10.0.0.1", at: 80) == forbidden)
        let text = out.site.relay.statusText
        #expect(text.contains("out to other hosts: 1 connections, 0 UDP flows, 1 refused and 0 failed so far"))
        #expect(out.site.relay.statusJSON.contains(#""egress":{"allowed":true,"connections":1,"flows":0,"refused":1"#))
    }
}

/// Another node that may go out.
private final class EgressPeer {
    private let site: RelaySite
    private let node: TestAgent

    init(_ site: RelaySite, _ name: String) throws {
        self.site = site
        node = try site.join(name, Permissions(expose: [], egress: true))
    }

    func open(at port: UInt16) throws -> TestApplication {
        let application = TestApplication()
        let endpoint = try node.platform.openEndpoint(
            kind: .stream, from: node.provider.local, to: node.provider.remote,
            destination: EndpointDestination(port: port, address: .loopbackV4), over: node.instance,
            application: application, now: site.loop.now)
        application.adopt(endpoint)
        return application
    }
}

/// A host whose backlog is full: nothing more is answered.
private final class SilentHost: TCPListenerDelegate {
    private(set) var port: UInt16 = 0
    private var listener: TCPListener?
    private var fillers: [TestPeer] = []

    init(_ loop: EventLoop) throws {
        let listener = try TCPListener(
            loop: loop, address: TransportAddress(.loopbackV4, port: 0), backlog: 0, readPool: loop.buffers,
            delegate: self)
        listener.pause()
        self.listener = listener
        port = listener.localAddress?.port ?? 0
        fillers = try (0..<3).map { _ in try TestPeer.connect(loop, port) }
    }

    func close() {
        listener?.close()
        for filler in fillers { filler.close() }
    }

    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {}
    func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}
}

/// Sees how a stream ends that no endpoint belongs to.
private final class StreamWatcher: TunnelStreamDelegate {
    private(set) var code: StreamResetCode?
    func streamOpened(_ stream: TunnelStream) {}
    func stream(_ stream: TunnelStream, received bytes: consuming Slice) {}
    func streamReceivedEnd(_ stream: TunnelStream) {}
    func streamHasSendRoom(_ stream: TunnelStream) {}
    func stream(_ stream: TunnelStream, wasReset code: StreamResetCode) { self.code = code }
    func streamFinished(_ stream: TunnelStream) {}
}
