// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

/// All that a reader made of some bytes.
struct Conversation: Equatable, Sendable {
    var events: [ProxyEvent] = []
    var leftover: [UInt8] = []

    /// What was written to the client.
    var written: [UInt8] {
        events.flatMap { event -> [UInt8] in
            switch event {
            case .reply(let bytes), .failed(let bytes, _): bytes
            case .request, .needMore: []
            }
        }
    }

    var request: ProxyRequest? {
        guard case .request(let request) = events.last else { return nil }
        return request
    }

    var reason: String? {
        guard case .failed(_, let reason) = events.last else { return nil }
        return reason
    }

    var text: String { String(decoding: written, as: UTF8.self) }

    /// Feeds the parts, and asks after each of them until no more comes.
    static func hold(
        _ parts: [[UInt8]], credentials: ProxyCredentials? = nil, headBound: Int = 16_384
    ) -> Conversation {
        var reader = ProxyRequestReader(credentials: credentials, headBound: headBound)
        var conversation = Conversation()
        for part in parts {
            reader.append(part.rawSpan)
            var event = reader.next()
            while event != .needMore {
                conversation.events.append(event)
                event = reader.next()
            }
        }
        conversation.leftover = reader.takeLeftover()
        #expect(reader.takeLeftover().isEmpty)
        return conversation
    }

    static func hold(
        _ bytes: [UInt8], credentials: ProxyCredentials? = nil, headBound: Int = 16_384
    ) -> Conversation {
        hold([bytes], credentials: credentials, headBound: headBound)
    }
}

extension [UInt8] {
    init(text: String) { self = Array(text.utf8) }

    /// A byte string behind its length in 8 bits.
    static func counted(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
}

/// A client's bytes from the first to the application's, and what a reader has to make of them.
struct Dialogue: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    var credentials: ProxyCredentials?
    let written: [UInt8]
    let request: ProxyRequest

    var testDescription: String { name }

    static let alice = ProxyCredentials(user: "alice", password: "s3cret")
    static let v6 = [UInt8](arrayLiteral: 0x20, 1, 0x0D, 0xB8) + [UInt8](repeating: 0, count: 11) + [1]
    static let open: [UInt8] = [5, 1, 0]
    static let password: [UInt8] = [5, 2, 0, 2, 1] + .counted("alice") + .counted("s3cret")

    static func address(_ text: String) -> ProxyDestination {
        guard let named = HostAndPort(text) else { return .name(text, port: 0) }
        return ProxyDestination(named)
    }

    static let all: [Dialogue] = socks5 + others + asProgramsWriteThem

    /// What curl 7.88 and OpenBSD's netcat sent, recorded.
    private static let asProgramsWriteThem: [Dialogue] = [
        Dialogue(
            name: "curl, SOCKS5",
            bytes: [5, 3, 0, 1, 2, 1] + .counted("alice") + .counted("s3cret") + [5, 1, 0, 3] + .counted("example.org")
                + [0, 80], credentials: alice, written: [5, 2, 1, 0],
            request: ProxyRequest(.socks5, .connect, to: .name("example.org", port: 80), credentials: alice)),
        Dialogue(
            name: "curl, SOCKS4A", bytes: [4, 1, 0, 80, 0, 0, 0, 1, 0] + .init(text: "example.org\0"), written: [],
            request: ProxyRequest(.socks4, .connect, to: .name("example.org", port: 80))),
        Dialogue(
            name: "curl, HTTP",
            bytes: .init(
                text: "CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\nProxy-Authorization: Basic "
                    + "YWxpY2U6czNjcmV0\r\nUser-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n"),
            credentials: alice, written: [],
            request: ProxyRequest(.http, .connect, to: .name("example.org", port: 80), credentials: alice)),
        Dialogue(
            name: "netcat, HTTP", bytes: .init(text: "CONNECT example.org:22 HTTP/1.0\r\n\r\n"), written: [],
            request: ProxyRequest(.http, .connect, to: .name("example.org", port: 22))),
    ]

    private static let others: [Dialogue] =
        [
            Dialogue(
                name: "SOCKS4", bytes: [4, 1, 1, 0xBB, 192, 0, 2, 1] + .init(text: "me\0"), written: [],
                request: ProxyRequest(.socks4, .connect, to: address("192.0.2.1:443"))),
            Dialogue(
                name: "SOCKS4A", bytes: [4, 1, 0, 80, 0, 0, 0, 7] + .init(text: "\0example.org\0"), written: [],
                request: ProxyRequest(.socks4, .connect, to: .name("example.org", port: 80))),
            Dialogue(
                name: "SOCKS4 to 0.0.0.0 is no SOCKS4A", bytes: [4, 1, 0, 80, 0, 0, 0, 0, 0], written: [],
                request: ProxyRequest(.socks4, .connect, to: address("0.0.0.0:80"))),
            Dialogue(
                name: "HTTP", bytes: .init(text: "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
                written: [], request: ProxyRequest(.http, .connect, to: .name("example.org", port: 443))),
            Dialogue(
                name: "HTTP with line feeds alone, an empty line before, and version 1.0",
                bytes: .init(text: "\r\n\nCONNECT [2001:db8::1]:443 HTTP/1.0\nUser-Agent:\t x \n\n"),
                written: [], request: ProxyRequest(.http, .connect, to: address("[2001:db8::1]:443"))),
            Dialogue(
                name: "HTTP with credentials",
                bytes: .init(
                    text: "CONNECT 192.0.2.1:22 HTTP/1.1\r\nproxy-authorization: bASIC  YWxpY2U6czNjcmV0\r\n\r\n"),
                credentials: alice, written: [],
                request: ProxyRequest(.http, .connect, to: address("192.0.2.1:22"), credentials: alice)),
            Dialogue(
                name: "HTTP with credentials that nobody asked for",
                bytes: .init(
                    text: "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic YTpiOmM\r\nContent-Length: 0\r\n\r\n"),
                written: [],
                request: ProxyRequest(
                    .http, .connect, to: .name("a", port: 1), credentials: ProxyCredentials(user: "a", password: "b:c"))
            ),
        ]

    private static let socks5: [Dialogue] = [
        Dialogue(
            name: "IPv4", bytes: open + [5, 1, 0, 1, 192, 0, 2, 1, 1, 0xBB], written: [5, 0],
            request: ProxyRequest(.socks5, .connect, to: address("192.0.2.1:443"))),
        Dialogue(
            name: "IPv6", bytes: open + [5, 1, 0, 4] + v6 + [0, 53], written: [5, 0],
            request: ProxyRequest(.socks5, .connect, to: address("[2001:db8::1]:53"))),
        Dialogue(
            name: "a name, as it is written", bytes: open + [5, 1, 0, 3] + .counted("Example.ORG.") + [0, 80],
            written: [5, 0], request: ProxyRequest(.socks5, .connect, to: .name("Example.ORG.", port: 80))),
        Dialogue(
            name: "a name beyond ASCII", bytes: open + [5, 1, 0, 3] + .counted("bücher.example") + [0, 80],
            written: [5, 0], request: ProxyRequest(.socks5, .connect, to: .name("bücher.example", port: 80))),
        Dialogue(
            name: "a name that is an address", bytes: open + [5, 1, 0, 3] + .counted("::ffff:127.0.0.1") + [0, 80],
            written: [5, 0], request: ProxyRequest(.socks5, .connect, to: address("[::ffff:127.0.0.1]:80"))),
        Dialogue(
            name: "the longest name",
            bytes: open + [5, 1, 0, 3] + .counted(String(repeating: "n", count: 255)) + [0xFF, 0xFF], written: [5, 0],
            request: ProxyRequest(.socks5, .connect, to: .name(String(repeating: "n", count: 255), port: 65_535))),
        Dialogue(
            name: "UDP ASSOCIATE from anywhere", bytes: open + [5, 3, 0, 1, 0, 0, 0, 0, 0, 0], written: [5, 0],
            request: ProxyRequest(.socks5, .udpAssociate, to: address("0.0.0.0:0"))),
        Dialogue(
            name: "255 methods, the last of them none",
            bytes: [5, 255] + [UInt8](repeating: 0x80, count: 254) + [0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 1],
            written: [5, 0],
            request: ProxyRequest(.socks5, .connect, to: address("192.0.2.1:1"))),
        Dialogue(
            name: "user name and password", bytes: password + [5, 1, 0, 1, 192, 0, 2, 1, 0, 1], credentials: alice,
            written: [5, 2, 1, 0],
            request: ProxyRequest(.socks5, .connect, to: address("192.0.2.1:1"), credentials: alice)),
        Dialogue(
            name: "user name and password of 255 bytes that nobody asked for",
            bytes: [5, 1, 2, 1] + .counted(String(repeating: "u", count: 255))
                + .counted(String(repeating: "p", count: 255)) + [5, 1, 0, 1, 192, 0, 2, 1, 0, 1],
            written: [5, 2, 1, 0],
            request: ProxyRequest(
                .socks5, .connect, to: address("192.0.2.1:1"),
                credentials: ProxyCredentials(
                    user: String(repeating: "u", count: 255), password: String(repeating: "p", count: 255)))),
    ]
}
