// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Proxying
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// A proxy's port in front of a site.
final class ProxySite {
    let site: Site
    let router: TestRouter
    let port: ProxyPort

    init(
        credentials: ProxyCredentials? = nil, connections: Int = 100, change: (inout ProxyPortLimits) -> Void = { _ in }
    ) throws {
        site = try Site()
        router = TestRouter(site)
        var limits = ProxyPortLimits(connections: connections)
        change(&limits)
        port = try ProxyPort(
            loop: site.loop, addresses: [TransportAddress(.loopbackV4, port: 0)], credentials: credentials,
            router: router, limits: limits, log: LogSampler(site.log.logger))
    }

    var runner: LoopRunner { site.runner }
    func end() {
        port.close()
        site.end()
    }

    func client() throws -> TestPeer { try TestPeer.connect(site.loop, try #require(port.addresses.first?.port)) }

    /// A client that has asked for something, and has its whole answer.
    func client(_ dialect: Dialect, to host: String, _ port: UInt16) throws -> TestPeer {
        let peer = try client()
        peer.send(dialect.request(host, port))
        try runner.run("a reply") { dialect.isReplied(peer.received) }
        return peer
    }

    func settled() throws {
        try runner.run("nothing left over") {
            port.connections == 0 && port.waiting == 0 && port.flows == 0 && site.directory.connections == 0
                && site.directory.flows == 0
        }
        runner.settle(turns: 3)
        #expect(site.loop.buffers.leased == 0)
    }
}

/// What a client speaks.
enum Dialect: CaseIterable, Sendable {
    case socks4, socks5, http

    /// All that a client says before it is connected, in one piece.
    func request(_ host: String, _ port: UInt16) -> [UInt8] {
        let name = Array(host.utf8)
        let portBytes = [UInt8(port >> 8), UInt8(port & 0xFF)]
        return switch self {
        case .socks4: [4, 1] + portBytes + [0, 0, 0, 1, 0] + name + [0]
        case .socks5: [5, 1, 0, 5, 1, 0, 3, UInt8(name.count)] + name + portBytes
        case .http: Array("CONNECT \(host):\(port) HTTP/1.1\r\nHost: \(host):\(port)\r\n\r\n".utf8)
        }
    }

    /// What a client reads where all goes well.
    var success: [UInt8] {
        switch self {
        case .socks4: [0, 90, 0, 0, 0, 0, 0, 0]
        case .socks5: [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        case .http: Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8)
        }
    }

    /// What a client reads where it does not. Of HTTP only the first line.
    func failure(_ reply: ProxyReply) -> [UInt8] {
        switch (self, reply) {
        case (.socks4, _): [0, 91, 0, 0, 0, 0, 0, 0]
        case (.socks5, _): [5, 0, 5, reply.rawValue, 0, 1, 0, 0, 0, 0, 0, 0]
        case (.http, .notAllowed): Array("HTTP/1.1 403 Forbidden\r\n".utf8)
        case (.http, .timeToLiveExpired): Array("HTTP/1.1 504 Gateway Timeout\r\n".utf8)
        case (.http, _): Array("HTTP/1.1 502 Bad Gateway\r\n".utf8)
        }
    }

    func isReplied(_ received: [UInt8]) -> Bool {
        self == .http ? String(decoding: received, as: UTF8.self).contains("\r\n\r\n") : received.count >= success.count
    }
}
