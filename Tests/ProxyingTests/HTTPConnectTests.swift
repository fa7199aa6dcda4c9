// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

/// A head that is refused, with the status and a word of the reason.
struct RefusedHead: Sendable, CustomTestStringConvertible {
    let head: String
    let status: HTTPStatus
    let word: String

    var testDescription: String { head.debugDescription }

    init(_ head: String, _ status: HTTPStatus, _ word: String) {
        self.head = head
        self.status = status
        self.word = word
    }

    private static func field(_ lines: String, _ word: String) -> RefusedHead {
        RefusedHead("CONNECT a:1 HTTP/1.1\r\n\(lines)\r\n\r\n", .badRequest, word)
    }

    private static func authority(_ text: String) -> RefusedHead {
        RefusedHead("CONNECT \(text) HTTP/1.1\r\n\r\n", .badRequest, "destination")
    }

    static let all: [RefusedHead] = lines + fields + authorities

    private static let lines = [
        RefusedHead("CONNECT a:1\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT  a:1 HTTP/1.1\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT a:1 HTTP/1.1 \r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT a:1 b HTTP/1.1\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT\ta:1\tHTTP/1.1\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CON(ECT a:1 HTTP/1.1\r\n\r\n", .badRequest, "request line"),
        RefusedHead("CONNECT a:1 http/1.1\r\n\r\n", .badRequest, "version"),
        RefusedHead("CONNECT a:1 SSH-2.0\r\n\r\n", .badRequest, "version"),
        RefusedHead("CONNECT a:1 HTTP/2.0\r\n\r\n", .versionNotSupported, "HTTP/1.1"),
        RefusedHead("PRI * HTTP/2.0\r\n\r\n", .versionNotSupported, "HTTP/1.1"),
        RefusedHead("CONNECT a:1 HTTP/1.2\r\n\r\n", .versionNotSupported, "HTTP/1.1"),
        RefusedHead("GET http://example.org/ HTTP/1.1\r\n\r\n", .methodNotAllowed, "CONNECT"),
        RefusedHead("POST / HTTP/1.0\n\n", .methodNotAllowed, "CONNECT"),
        RefusedHead("connect a:1 HTTP/1.1\r\n\r\n", .methodNotAllowed, "CONNECT"),
        RefusedHead("C\0NNECT a:1 HTTP/1.1\r\n\r\n", .badRequest, "control"),
        RefusedHead("CONNECT a:1\rHTTP/1.1\r\n\r\n", .badRequest, "control"),
        RefusedHead("CONNECT a:1 HTTP/1.1\r\r\n\r\n", .badRequest, "control"),
    ]

    private static let fields = [
        field("Host : a", "token"), field("Host: a\r\nHost: a", "more than one Host"), field("Host", "no colon"),
        field(": a", "token"), field(" Host: a", "folded"), field("\tHost: a", "folded"),
        field("A: b\r\n c", "folded"), field("A: b\0", "control"), field("A: b\rc", "control"),
        field("A: b\u{7F}", "control"), field("A\u{E9}: b", "token"), field("A B: c", "token"),
        field("Transfer-Encoding: chunked", "content"), field("Content-Length: 1", "content"),
        field("Content-Length: 0\r\nContent-Length: 5", "content"),
        field("Proxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi", "more than one Proxy-Auth"),
    ]

    private static let authorities = [
        "a", "a:", "a:0", "a:00", "a:65536", "a:99999999999999999999", "a:-1", "a:+1", "a:1x", ":1", "user@a:1",
        "http://a:1", "http://a:1/", "/", "*", "2001:db8::1", "2001:db8::1:443x", "[2001:db8::1]", "[2001:db8::1]:",
        "[2001:db8::1]:0", "[2001:db8::1]443", "[2001:db8::1", "[192.0.2.1]:1", "[a]:1", "[]:1", "127.1:80",
        "0x7f000001:80", "a..b:1", "-a:1", "b\u{FC}cher:1", "a%00:1", "\(String(repeating: "a", count: 64)):1",
    ].map(authority)
}

@Suite struct HTTPConnectTests {
    @Test(arguments: RefusedHead.all) func refusesWithAWholeResponse(_ refused: RefusedHead) throws {
        let read = Conversation.hold(.init(text: refused.head))
        #expect(read.text.hasPrefix("HTTP/1.1 \(refused.status.rawValue) \(refused.status.phrase)\r\n"), "\(read.text)")
        #expect(read.reason?.contains(refused.word) == true, "\(read.reason ?? "")")
        try expectWhole(read.written)
    }

    @Test(arguments: RefusedHead.all) func refusesTheSameHoweverTheBytesArrive(_ refused: RefusedHead) {
        let bytes = [UInt8](text: refused.head)
        #expect(Conversation.hold(bytes.map { [$0] }) == Conversation.hold(bytes))
        for count in 0..<bytes.count {
            #expect(Conversation.hold(Array(bytes.prefix(count))).events.isEmpty, "\(count) bytes")
        }
    }

    @Test(arguments: [
        ("example.org:443", "example.org:443"), ("EXAMPLE.org.:1", "EXAMPLE.org.:1"), ("a_b.c:65535", "a_b.c:65535"),
        ("192.0.2.1:80", "192.0.2.1:80"), ("[2001:DB8::1]:443", "[2001:db8::1]:443"), ("[::1]:22", "[::1]:22"),
        ("[::ffff:127.0.0.1]:22", "[::ffff:127.0.0.1]:22"), ("localhost:0080", "localhost:80"),
    ]) func takesEveryFormOfAuthority(_ text: String, _ read: String) {
        let request = Conversation.hold(.init(text: "CONNECT \(text) HTTP/1.1\r\nHost: \(text)\r\n\r\n")).request
        #expect(request?.destination.description == read)
    }

    @Test(arguments: [
        "", "Proxy-Authorization: Basic\r\n", "Proxy-Authorization: Basic !\r\n", "Proxy-Authorization: Bearer abc\r\n",
        "Authorization: Basic YWxpY2U6czNjcmV0\r\n", "Proxy-Authorization: Basic YWxpY2U6czNjcmV1\r\n",
        "Proxy-Authorization: Basic Ym9iOnMzY3JldA==\r\n", "Proxy-Authorization: Basic YWxpY2U=\r\n",
        "Proxy-Authorization:\r\n", "Proxy-Authorization: YWxpY2U6czNjcmV0\r\n",
    ]) func asksForCredentials(_ field: String) throws {
        let head = "CONNECT a:1 HTTP/1.1\r\n\(field)\r\n"
        let read = Conversation.hold(.init(text: head), credentials: Dialogue.alice)
        #expect(read.text.hasPrefix("HTTP/1.1 407 Proxy Authentication Required\r\n"))
        #expect(read.text.contains("\r\nProxy-Authenticate: Basic realm="))
        try expectWhole(read.written)
    }

    /// Who tries credentials learns nothing of which half was wrong.
    @Test func wrongUserAndWrongPasswordReadTheSame() {
        let tokens = [("bob", "s3cret"), ("alice", "s3creT")].compactMap {
            ProxyCredentials(user: $0.0, password: $0.1).basic
        }
        let answers = tokens.map {
            Conversation.hold(
                .init(text: "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic \($0)\r\n\r\n"),
                credentials: Dialogue.alice)
        }
        #expect(answers.count == 2 && answers[0].events == answers[1].events)
    }

    @Test func saysWhichMethodItKnows() {
        let text = Conversation.hold(.init(text: "GET / HTTP/1.1\r\n\r\n")).text
        #expect(text.contains("\r\nAllow: CONNECT\r\n"))
    }

    /// A head of the bound's length is taken, and one byte more is not, however it arrives.
    @Test(arguments: [40, 100, 16_384]) func theHeadIsBounded(_ bound: Int) {
        let frame = "CONNECT a:1 HTTP/1.1\r\nA: \r\n\r\n"
        for over in [-1, 0, 1, 2, 500] {
            let filler = String(repeating: "x", count: bound - frame.utf8.count + over)
            let bytes = [UInt8](text: "CONNECT a:1 HTTP/1.1\r\nA: \(filler)\r\n\r\n")
            let whole = Conversation.hold(bytes, headBound: bound)
            #expect((whole.request != nil) == (over <= 0), "\(over)")
            if over > 0 { #expect(whole.text.hasPrefix("HTTP/1.1 431 ")) }
            let parts = stride(from: 0, to: bytes.count, by: 7).map { Array(bytes[$0..<min($0 + 7, bytes.count)]) }
            #expect(Conversation.hold(parts, headBound: bound).events == whole.events)
        }
    }

    @Test(arguments: ["CONNECT \(String(repeating: "a", count: 200))", String(repeating: "\r\n", count: 100)])
    func aRequestLineWithoutEndIsRefused(_ text: String) throws {
        let read = Conversation.hold(.init(text: text), headBound: 128)
        #expect(read.text.hasPrefix("HTTP/1.1 414 URI Too Long\r\n"))
        try expectWhole(read.written)
    }

    @Test func establishedHasNoContent() {
        let request = ProxyRequest(.http, .connect, to: .name("a", port: 1))
        let bytes = request.reply(.succeeded, because: "never said")
        #expect(String(decoding: bytes, as: UTF8.self) == "HTTP/1.1 200 Connection established\r\n\r\n")
    }

    @Test(arguments: ProxyReply.allCases.dropFirst()) func repliesAsHTTP(_ reply: ProxyReply) throws {
        let request = ProxyRequest(.http, .connect, to: .name("a", port: 1))
        let status =
            switch reply {
            case .notAllowed: "403 Forbidden"
            case .timeToLiveExpired: "504 Gateway Timeout"
            default: "502 Bad Gateway"
            }
        for (said, words) in [("", "\(reply)\n"), ("a:1 said n\u{F6}", "a:1 said n\u{F6}\n")] {
            let bytes = request.reply(reply, because: said)
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(text.hasPrefix("HTTP/1.1 \(status)\r\n") && text.hasSuffix("\r\n\r\n\(words)"))
            try expectWhole(bytes)
        }
    }

    /// The response reads as one, its content has the length that it says, and the connection is said to end.
    private func expectWhole(_ bytes: [UInt8]) throws {
        var scanner = HTTPHeadScanner()
        let found = scanner.end(in: bytes, bound: bytes.count)
        let end = try #require(found)
        let head = try HTTPHead(bytes[..<end])
        #expect(head.values("content-length") == ["\(bytes.count - end)"])
        #expect(head.values("connection") == ["close"])
        #expect(head.values("content-type") == ["text/plain; charset=utf-8"])
        #expect(bytes.count > end)
    }
}
