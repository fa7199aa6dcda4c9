// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Proxying
import TestSupport
import Testing

@testable import Redirection

@Suite struct ProxyPortTests {
    @Test(arguments: Dialect.allCases, ["home", "home.natfwt.internal", "192.0.2.1"])
    func echoes(dialect: Dialect, host: String) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let client = try proxy.client(dialect, to: host, service)
        #expect(client.received == dialect.success)
        #expect(proxy.router.asked == [HostAndPort(host: host, port: service)], "names are not looked up here")
        #expect(proxy.router.sources == [client.stream?.localAddress])
        client.send("hello")
        try proxy.runner.run("an echo") { client.received == dialect.success + Array("hello".utf8) }
        #expect(proxy.port.connections == 1 && proxy.port.waiting == 0)
        client.finish()
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        try proxy.settled()
    }

    /// The addresses of SOCKS5 in their other forms, and each byte in a piece of its own.
    @Test(
        arguments: [
            ([1, 192, 0, 2, 1], "192.0.2.1"),
            ([4, 0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
        ] as [([UInt8], String)])
    func addressesInPieces(address: [UInt8], host: String) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let client = try proxy.client()
        for byte in [5, 1, 0, 5, 1, 0] + address + [UInt8(service >> 8), UInt8(service & 0xFF)] {
            client.send([byte])
            proxy.runner.settle(turns: 1)
        }
        try proxy.runner.run("a reply") { client.received == Dialect.socks5.success }
        #expect(proxy.router.asked == [HostAndPort(host: host, port: service)])
    }

    /// What a client sends behind its request, before it has a reply, is the application's; and so is its end.
    @Test(arguments: Dialect.allCases, [5, 300_000]) func pipelined(dialect: Dialect, bytes: Int) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let client = try proxy.client()
        var random = SeededRandom(7)
        let said = random.bytes(bytes)
        client.send(dialect.request("home", service) + said)
        client.finish()
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        #expect(client.received == dialect.success + said)
        try proxy.settled()
    }

    /// No success before the far side has it, and nothing is lost meanwhile.
    @Test(arguments: Dialect.allCases) func successWaitsForTheFarSide(dialect: Dialect) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        proxy.router.silent = ["home"]
        let client = try proxy.client()
        client.send(dialect.request("home", try proxy.site.echo()))
        try proxy.runner.run("a wait") { proxy.router.asked.count == 1 }
        client.send("early")
        client.finish()
        proxy.runner.settle()
        #expect(client.received == (dialect == .socks5 ? [5, 0] : []))
        proxy.router.release()
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        #expect(client.received == dialect.success + Array("early".utf8))
        try proxy.settled()
    }

    enum First: CaseIterable { case client, service }

    private func join(_ proxy: ProxySite) throws -> (TestPeer, TestPeer) {
        let server = try TestServer(proxy.site.loop)
        proxy.site.serve(server.port)
        let client = try proxy.client(.socks5, to: "home", server.port)
        try proxy.runner.run("a connection to the service") { server.peers.count == 1 }
        return (client, server.peers[0])
    }

    @Test(arguments: First.allCases, [0, 2_000_000]) func halfClose(first: First, bytes: Int) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let (client, service) = try join(proxy)
        let (ending, going) = first == .client ? (client, service) : (service, client)
        let (skippedGoing, skippedEnding) = (going.received.count, ending.received.count)
        var random = SeededRandom(8)
        let (request, answer) = (random.bytes(bytes), random.bytes(bytes))
        ending.send(request)
        ending.finish()
        try proxy.runner.run("the end of what was said") { going.hasReceivedEnd }
        #expect(Array(going.received.dropFirst(skippedGoing)) == request)
        going.send(answer)
        going.finish()
        try proxy.runner.run("the other end") { ending.hasReceivedEnd }
        #expect(Array(ending.received.dropFirst(skippedEnding)) == answer)
        #expect(ending.failure == nil && going.failure == nil)
        try proxy.settled()
    }

    @Test(arguments: First.allCases) func reset(first: First) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let (client, service) = try join(proxy)
        let (resetting, other) = first == .client ? (client, service) : (service, client)
        resetting.reset()
        try proxy.runner.run("a reset") { other.isOver }
        #expect(other.failure == .connectionReset)
        try proxy.settled()
    }

    // MARK: - Who is served

    private static let alice = ProxyCredentials(user: "alice", password: "s3cret")

    @Test(arguments: [("alice", "s3cret", true), ("alice", "wrong", false), ("bob", "s3cret", false), ("", "", false)])
    func password(user: String, password: String, isRight: Bool) throws {
        let proxy = try ProxySite(credentials: Self.alice)
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let client = try proxy.client()
        let counted = [user, password].flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        client.send([5, 1, 2, 1] + counted + Dialect.socks5.request("home", service).dropFirst(3))
        let expected: [UInt8] = isRight ? [5, 2, 1, 0] + Dialect.socks5.success.dropFirst(2) : [5, 2, 1, 1]
        try proxy.runner.run("an answer") { client.received.count >= expected.count }
        #expect(client.received == expected)
        guard !isRight else { return }
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        #expect(client.failure == nil && proxy.router.asked.isEmpty)
        client.finish()
        try proxy.settled()
    }

    @Test(arguments: [("YWxpY2U6czNjcmV0", true), ("YWxpY2U6d3Jvbmc=", false), (nil, false)] as [(String?, Bool)])
    func httpPassword(token: String?, isRight: Bool) throws {
        let proxy = try ProxySite(credentials: Self.alice)
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let client = try proxy.client()
        let field = token.map { "Proxy-Authorization: Basic \($0)\r\n" } ?? ""
        client.send("CONNECT home:\(service) HTTP/1.1\r\n\(field)\r\n")
        try proxy.runner.run("an answer") { Dialect.http.isReplied(client.received) }
        #expect(client.text.hasPrefix(isRight ? "HTTP/1.1 200 " : "HTTP/1.1 407 "))
        #expect(proxy.router.asked.isEmpty != isRight)
    }

    @Test func withoutAnyPassword() throws {
        let proxy = try ProxySite(credentials: Self.alice)
        defer { proxy.end() }
        let client = try proxy.client()
        client.send([5, 1, 0])
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        #expect(client.received == [5, 0xFF])
    }

    @Test func bound() throws {
        let proxy = try ProxySite(connections: 2)
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let first = try proxy.client(.socks5, to: "home", service)
        let second = try proxy.client()
        try proxy.runner.run("two connections") { proxy.port.connections == 2 }
        let third = try proxy.client()
        try proxy.runner.run("a refusal") { third.isOver }
        #expect(third.failure == .connectionReset && proxy.port.counters.turnedAway == 1)
        #expect(site(proxy, says: "turned away"))
        second.reset()
        first.reset()
        try proxy.settled()
        #expect(try proxy.client(.http, to: "home", service).received == Dialect.http.success)
    }

    private func site(_ proxy: ProxySite, says text: String) -> Bool { proxy.site.log.contains(text) }

    /// Many clients at once, of every kind, each with its own bytes.
    @Test func manyAtOnce() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let service = try proxy.site.echo()
        let clients = try (0..<60).map { number in
            let dialect = Dialect.allCases[number % 3]
            let client = try proxy.client()
            client.send(dialect.request("home", service) + Array("client \(number)".utf8))
            client.finish()
            return (number, dialect, client)
        }
        try proxy.runner.run("all ends") { clients.allSatisfy { $0.2.isOver } }
        for (number, dialect, client) in clients {
            #expect(client.received == dialect.success + Array("client \(number)".utf8))
        }
        try proxy.settled()
        #expect(proxy.port.counters.accepted == 60)
    }

    @Test func closeKeepsWhatIsJoined() throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let joined = try proxy.client(.http, to: "home", try proxy.site.echo())
        let waiting = try proxy.client()
        waiting.send([5])
        try proxy.runner.run("a client that waits") { proxy.port.waiting == 1 }
        proxy.port.close()
        try proxy.runner.run("its end") { waiting.isOver }
        joined.send("hello")
        try proxy.runner.run("an echo") { joined.text.hasSuffix("hello") }
        joined.finish()
        try proxy.settled()
    }
}
