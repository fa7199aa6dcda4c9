// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Proxying
import TestSupport
import Testing

@testable import Redirection

/// What a client of the proxy is told where it can't be brought to its destination, and how it leaves.
@Suite struct ProxyFailureTests {
    /// RFC 1928, 6.
    static let table: [(EndpointResetCode, ProxyReply)] = [
        (.refused, .connectionRefused), (.unreachable, .hostUnreachable), (.timedOut, .timeToLiveExpired),
        (.notAllowed, .notAllowed), (.limit, .generalFailure), (.reset, .generalFailure),
        (.sessionEnded, .generalFailure), (.internalError, .generalFailure),
        (EndpointResetCode(rawValue: 4_711), .generalFailure),
    ]

    private func expect(_ client: TestPeer, _ dialect: Dialect, _ reply: ProxyReply, _ proxy: ProxySite) throws {
        try proxy.runner.run("the end") { client.hasReceivedEnd }
        let failure = dialect.failure(reply)
        #expect(Array(client.received.prefix(failure.count)) == failure)
        if dialect != .http { #expect(client.received.count == failure.count) }
        #expect(client.failure == nil)
        #expect(proxy.port.counters.failed == 1)
        client.finish()
        try proxy.settled()
    }

    @Test(arguments: table, Dialect.allCases)
    func noRoute(entry: (code: EndpointResetCode, reply: ProxyReply), dialect: Dialect) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        proxy.router.failures["home"] = RouteFailure(entry.code, "home is out of town")
        let client = try proxy.client(dialect, to: "home", 22)
        try expect(client, dialect, entry.reply, proxy)
        if dialect == .http { #expect(client.text.hasSuffix("\r\n\r\nhome:22: home is out of town\n")) }
        #expect(proxy.site.log.contains("home:22") && proxy.site.log.contains("home is out of town"))
    }

    /// There is a route, and then the far side does not take the endpoint.
    @Test(arguments: table, Dialect.allCases)
    func refused(entry: (code: EndpointResetCode, reply: ProxyReply), dialect: Dialect) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let acceptor = TestAcceptor()
        acceptor.refusal = entry.code
        proxy.site.agent.acceptor = acceptor
        let client = try proxy.client(dialect, to: "home", 22)
        try expect(client, dialect, entry.reply, proxy)
        if dialect == .http { #expect(client.text.hasSuffix("\r\n\r\nhome:22: \(entry.code)\n")) }
    }

    /// The session breaks before the far side has answered.
    @Test(arguments: Dialect.allCases) func sessionBreaks(dialect: Dialect) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        proxy.router.silent = ["home"]
        let client = try proxy.client()
        client.send(dialect.request("home", 22))
        try proxy.runner.run("a wait") { proxy.router.asked.count == 1 }
        proxy.router.release()
        proxy.site.breakSession()
        try expect(client, dialect, .generalFailure, proxy)
    }

    @Test(arguments: Dialect.allCases) func routeThatNeverAnswers(dialect: Dialect) throws {
        let proxy = try ProxySite { $0.routing = .milliseconds(200) }
        defer { proxy.end() }
        let acceptor = TestAcceptor()
        proxy.site.agent.acceptor = acceptor
        proxy.router.silent = ["home"]
        let client = try proxy.client(dialect, to: "home", 22)
        try expect(client, dialect, .timeToLiveExpired, proxy)
        proxy.router.release()
        try proxy.runner.run("an end without a client") {
            acceptor.applications.allSatisfy { $0.end == .reset(.reset) }
        }
    }

    /// The client leaves while its route is made. A FIN alone may be a client that has nothing more to say.
    @Test(arguments: [false, true]) func leavesBeforeTheRoute(says: Bool) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let acceptor = TestAcceptor()
        proxy.site.agent.acceptor = acceptor
        proxy.router.silent = ["home"]
        let client = try proxy.client()
        client.send(Dialect.socks5.request("home", 22))
        try proxy.runner.run("a wait") { proxy.router.asked.count == 1 && client.received == [5, 0] }
        if says { client.send("something") }
        proxy.runner.settle(turns: 3)
        client.reset()
        try proxy.settled()
        proxy.router.release()
        try proxy.runner.run("an end without a client") {
            acceptor.applications.allSatisfy { $0.end == .reset(.reset) }
        }
        #expect(proxy.port.connections == 0)
    }

    /// A client that says nothing, too little, or leaves in the middle.
    @Test(arguments: [[], [5], [5, 1, 0, 5, 1], Array("CONNECT home".utf8)] as [[UInt8]], [false, true])
    func unfinishedRequest(bytes: [UInt8], leaves: Bool) throws {
        let proxy = try ProxySite { if !leaves { $0.request = .milliseconds(100) } }
        defer { proxy.end() }
        let client = try proxy.client()
        client.send(bytes)
        if leaves { client.finish() }
        try proxy.runner.run("the end") { client.isOver }
        #expect(proxy.router.asked.isEmpty)
        #expect(proxy.port.counters.failed == (leaves ? 0 : 1))
        try proxy.settled()
    }

    @Test(
        arguments: [
            ([22, 3, 1], "TLS", 0), ([0], "neither", 0), (Array("GET / HTTP/1.1\r\n\r\n".utf8), "CONNECT alone", 12),
            ([5, 1, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 1], "BIND", 12), ([5, 0], "authentication", 2),
        ] as [([UInt8], String, Int)])
    func strangeRequests(bytes: [UInt8], reason: String, atLeast: Int) throws {
        let proxy = try ProxySite()
        defer { proxy.end() }
        let client = try proxy.client()
        client.send(bytes)
        try proxy.runner.run("the end") { client.isOver }
        #expect(client.received.count >= atLeast)
        #expect(proxy.site.log.contains(reason), "\(proxy.site.log.lines)")
        client.finish()
        try proxy.settled()
    }

    /// The reply is read, whatever the client has sent meanwhile; and who does not leave is shown out.
    @Test(arguments: [0, 200_000]) func refusedClientStays(bytes: Int) throws {
        let proxy = try ProxySite { $0.leaving = .milliseconds(200) }
        defer { proxy.end() }
        proxy.router.failures["home"] = RouteFailure(.refused, "nobody there")
        let client = try proxy.client()
        client.send(Dialect.socks5.request("home", 22) + [UInt8](repeating: 7, count: bytes))
        try proxy.runner.run("a reply") { client.hasReceivedEnd }
        #expect(client.received == Dialect.socks5.failure(.connectionRefused))
        try proxy.settled()
    }
}

/// A real client.
@Suite struct ProxyClientsTests {
    @Test(
        .enabled(if: Tool.has("curl")),
        arguments: [
            "socks5h://alice:s3cret@", "socks5://alice:s3cret@", "socks4a://", "http://alice:s3cret@",
            "socks5h://bob:x@",
        ])
    func curl(scheme: String) throws {
        let isOpen = scheme.hasPrefix("socks4")
        let proxy = try ProxySite(credentials: isOpen ? nil : ProxyCredentials(user: "alice", password: "s3cret"))
        defer { proxy.end() }
        let server = try TestServer(proxy.site.loop)
        proxy.site.serve(server.port)
        server.onAccepted = { peer in
            peer.onReceived = { peer in
                guard peer.text.hasSuffix("\r\n\r\n") else { return }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\nConnection: close\r\n\r\n")
                peer.send([UInt8](repeating: UInt8(ascii: "x"), count: 500_000))
                peer.finish()
            }
        }
        let folder = try TemporaryFolder()
        let address = try #require(proxy.port.addresses.first)
        let host = scheme.hasPrefix("socks5:") ? "127.0.0.1" : "home.natfwt.internal"
        let curl = try Child(
            "curl",
            [
                Tool.path("curl"), "-sS", "--proxytunnel", "--noproxy", "", "-x", "\(scheme)\(address)",
                "http://\(host):\(server.port)/",
            ], directory: folder.path)
        try proxy.runner.run("curl ends") { !curl.isRunning }
        guard scheme != "socks5h://bob:x@" else {
            #expect(curl.exitCode == 97, "\(curl.log)")
            return
        }
        #expect(curl.exitCode == 0, "\(curl.errors)")
        #expect(curl.output.utf8.count == 500_000)
        #expect(proxy.router.asked == [HostAndPort(host: host, port: server.port)])
        try proxy.settled()
    }
}
