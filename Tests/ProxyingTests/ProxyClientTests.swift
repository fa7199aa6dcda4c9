// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

/// All that a client did on what a proxy sent.
private struct Talk: Equatable {
    var written: [[UInt8]] = []
    var outcome: ProxyClientEvent?
    var leftover: [UInt8] = []

    init(_ client: ProxyClient, _ parts: [[UInt8]]) {
        var client = client
        step(&client)
        for part in parts {
            client.append(part.rawSpan)
            step(&client)
        }
        leftover = client.takeLeftover()
    }

    private mutating func step(_ client: inout ProxyClient) {
        while true {
            switch client.next() {
            case .needMore: return
            case .write(let bytes): written.append(bytes)
            case let event:
                #expect(outcome == nil)
                outcome = event
            }
        }
    }

    var error: ProxyClientError? {
        guard case .failed(let error) = outcome else { return nil }
        return error
    }
}

/// What a proxy answers in one go, and what it comes to.
struct Answer: Sendable, CustomTestStringConvertible {
    let dialect: ProxyClient.Dialect
    var credentials: ProxyCredentials?
    let bytes: [UInt8]
    let outcome: ProxyClientEvent

    var testDescription: String {
        dialect == .http ? String(decoding: bytes, as: UTF8.self).debugDescription : "\(bytes)"
    }

    static func socks(_ bytes: [UInt8], _ error: ProxyClientError, _ credentials: ProxyCredentials? = nil) -> Answer {
        Answer(dialect: .socks5, credentials: credentials, bytes: bytes, outcome: .failed(error))
    }

    static func http(_ text: String, _ error: ProxyClientError, _ credentials: ProxyCredentials? = nil) -> Answer {
        Answer(dialect: .http, credentials: credentials, bytes: .init(text: text), outcome: .failed(error))
    }

    static func connected(_ dialect: ProxyClient.Dialect, _ bytes: [UInt8], _ bound: ProxyDestination?) -> Answer {
        Answer(
            dialect: dialect, credentials: dialect == .socks5 ? Dialogue.alice : nil, bytes: bytes,
            outcome: .connected(bound: bound))
    }

    static let good: [Answer] = [
        connected(.socks5, [5, 0, 5, 0, 0, 1, 192, 0, 2, 1, 0, 9], Dialogue.address("192.0.2.1:9")),
        connected(.socks5, [5, 2, 1, 0, 5, 0, 0, 4] + Dialogue.v6 + [0, 9], Dialogue.address("[2001:db8::1]:9")),
        connected(.socks5, [5, 2, 5, 0, 5, 0, 7, 3] + .counted("gate") + [0, 9], .name("gate", port: 9)),
        connected(.http, .init(text: "HTTP/1.1 200 Connection established\r\n\r\n"), nil),
        connected(.http, .init(text: "HTTP/1.0 204\n\n"), nil),
        connected(.http, .init(text: "HTTP/1.1 200 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), nil),
        connected(
            .http, .init(text: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            nil),
    ]

    static let bad: [Answer] =
        [
            socks([5, 0xFF], .authenticationRequired), socks([5, 0xFF], .authenticationRefused, Dialogue.alice),
            socks([5, 2, 1, 1], .authenticationRefused, Dialogue.alice),
            socks([5, 2], .malformed("it chose the authentication method 2, which was not offered")),
            socks([5, 1], .malformed("it chose the authentication method 1, which was not offered"), Dialogue.alice),
            socks([72], .malformed("it is no SOCKS5 (first byte 72)")),
            socks([5, 2, 2], .malformed("version 2 of the user name and password is not 1"), Dialogue.alice),
            socks([5, 0, 4], .malformed("it is no SOCKS5 (first byte 4)")),
            socks([5, 0, 5, 9], .refusedWithCode(9)), socks([5, 0, 5, 255], .refusedWithCode(255)),
            socks([5, 0, 5, 0, 0, 2], .malformed("address type 2 is unknown")),
            http("HTTP/1.1 407 x\r\n\r\n", .authenticationRequired),
            http("HTTP/1.1 407 x\r\n\r\n", .authenticationRefused, Dialogue.alice),
            http("HTTP/1.1 403 Not \u{FC}you\r\n\r\n", .status(403, phrase: "Not you")),
            http("HTTP/1.1 502\r\n\r\n", .status(502, phrase: "")),
            http("HTTP/1.1 101 Switching\r\n\r\n", .status(101, phrase: "Switching")),
            http(
                "HTTP/1.1 301 \(String(repeating: "x", count: 200))\r\n\r\n",
                .status(301, phrase: String(repeating: "x", count: 100))),
            http("HTTP/2 200 OK\r\n\r\n", .malformed("it is no HTTP/1.1")),
            http("HTTP/1.1 20 OK\r\n\r\n", .malformed("it is no HTTP/1.1")),
            http("HTTP/1.1 +20 OK\r\n\r\n", .malformed("it is no HTTP/1.1")),
            http("SSH-2.0-x\r\n\r\n", .malformed("it is no HTTP/1.1")),
            http("HTTP/1.1 200 OK\r\nA\r\n\r\n", .malformed("a field has no colon")),
            http("HTTP/1.1 200 OK\0\r\n\r\n", .malformed("there is a control character in the head")),
        ] + ProxyReply.allCases.dropFirst().map { socks([5, 0, 5, $0.rawValue], .refused($0)) }
}

@Suite struct ProxyClientTests {
    private let name = ProxyDestination.name("example.org", port: 443)

    private func talk(_ answer: Answer, _ parts: [[UInt8]]) -> Talk {
        Talk(ProxyClient(answer.dialect, to: name, credentials: answer.credentials), parts)
    }

    @Test(arguments: Answer.good + Answer.bad) func understandsTheAnswer(_ answer: Answer) {
        #expect(talk(answer, [answer.bytes]).outcome == answer.outcome)
    }

    @Test(arguments: Answer.good + Answer.bad) func understandsTheSameHoweverItArrives(_ answer: Answer) {
        let whole = talk(answer, [answer.bytes])
        #expect(talk(answer, answer.bytes.map { [$0] }) == whole)
        for at in 0..<answer.bytes.count {
            #expect(talk(answer, [Array(answer.bytes[..<at]), Array(answer.bytes[at...])]) == whole, "split at \(at)")
            #expect(talk(answer, [Array(answer.bytes[..<at])]).outcome == nil, "\(at) bytes")
        }
    }

    @Test(arguments: Answer.good) func keepsWhatTheDestinationSends(_ answer: Answer) {
        let banner = [UInt8](text: "220 hello\r\n\r\n")
        #expect(talk(answer, [answer.bytes + banner]).leftover == banner)
        #expect(talk(answer, (answer.bytes + banner).map { [$0] }).leftover == banner)
    }

    @Test(arguments: Answer.good + Answer.bad) func everyFlippedBitReadsTheSameHoweverItArrives(_ answer: Answer) {
        for index in answer.bytes.indices {
            for bit in 0..<8 {
                var bytes = answer.bytes
                bytes[index] ^= 1 << bit
                #expect(talk(answer, bytes.map { [$0] }).outcome == talk(answer, [bytes]).outcome, "\(bytes)")
            }
        }
    }

    @Test(arguments: [1, 2, UInt64.random(in: 3...UInt64.max)]) func neverTrapsOnRubbish(seed: UInt64) {
        var random = SplitMix(state: seed)
        let answers = Answer.good + Answer.bad
        for _ in 0..<3_000 {
            let answer = answers[Int.random(in: 0..<answers.count, using: &random)]
            let kept = answer.bytes.prefix(Int.random(in: 0...answer.bytes.count, using: &random))
            let rest = (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
            #expect(
                talk(answer, [kept + rest]).leftover.count <= kept.count + rest.count, "seed \(seed): \(kept + rest)")
        }
    }

    @Test func aHeadWithoutEndIsRefused() {
        let client = ProxyClient(.http, to: name, headBound: 200)
        let interim = [UInt8](text: "HTTP/1.1 100 Continue\r\n\r\n")
        let error = ProxyClientError.malformed("its head is longer than 200 bytes")
        #expect(Talk(client, [[UInt8](repeating: 97, count: 200)]).error == error)
        #expect(Talk(client, [[UInt8](repeating: 97, count: 199)]).outcome == nil)
        #expect(Talk(client, Array(repeating: interim, count: 9)).error == error)
        #expect(Talk(client, [Array(Array(repeating: interim, count: 9).joined())]).error == error)
    }

    @Test func writesSOCKS5() throws {
        let open = Talk(ProxyClient(.socks5, to: name), [[5, 0]])
        #expect(open.written == [[5, 1, 0], [5, 1, 0, 3] + .counted("example.org") + [1, 0xBB]])
        let closed = Talk(
            ProxyClient(.socks5, to: Dialogue.address("[2001:db8::1]:53"), credentials: Dialogue.alice),
            [[5, 2], [1, 0]])
        #expect(
            closed.written == [
                [5, 2, 0, 2], [1] + .counted("alice") + .counted("s3cret"), [5, 1, 0, 4] + Dialogue.v6 + [0, 53],
            ])
    }

    @Test func writesCONNECT() throws {
        let open = Talk(ProxyClient(.http, to: Dialogue.address("[2001:db8::1]:53")), [])
        #expect(open.written == [.init(text: "CONNECT [2001:db8::1]:53 HTTP/1.1\r\nHost: [2001:db8::1]:53\r\n\r\n")])
        let closed = Talk(ProxyClient(.http, to: name, credentials: Dialogue.alice), [])
        let head = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n"
        #expect(closed.written == [.init(text: "\(head)Proxy-Authorization: Basic YWxpY2U6czNjcmV0\r\n\r\n")])
    }

    @Test func saysNothingThatCannotBeSaid() {
        let long = String(repeating: "x", count: 256)
        for destination in [ProxyDestination.name("", port: 1), .name(long, port: 1)] {
            let talk = Talk(ProxyClient(.socks5, to: destination), [])
            #expect(talk.written.isEmpty && talk.error != nil)
        }
        for credentials in [("", "x"), (long, "x"), ("x", long)] {
            let client = ProxyClient(
                .socks5, to: name, credentials: ProxyCredentials(user: credentials.0, password: credentials.1))
            #expect(Talk(client, []).error != nil)
        }
        let injected = ProxyDestination.name("a:1 HTTP/1.1\r\nX: y\r\n\r\n", port: 1)
        for destination in [injected, .name("b\u{FC}cher", port: 1), .name("a", port: 0), .name("", port: 1)] {
            let talk = Talk(ProxyClient(.http, to: destination), [])
            #expect(talk.written.isEmpty && talk.error != nil)
        }
        let colon = ProxyClient(.http, to: name, credentials: ProxyCredentials(user: "a:b", password: "c"))
        #expect(Talk(colon, []).error != nil)
    }

    @Test(arguments: [ProxyClient.Dialect.socks5, .http], [nil, Dialogue.alice])
    func understandsOurOwnServer(_ dialect: ProxyClient.Dialect, _ credentials: ProxyCredentials?) throws {
        let destinations = [name, Dialogue.address("192.0.2.1:22"), Dialogue.address("[2001:db8::1]:22")]
        for destination in destinations {
            var client = ProxyClient(dialect, to: destination, credentials: credentials)
            var server = ProxyRequestReader(credentials: credentials)
            var outcome: ProxyClientEvent?
            while outcome == nil {
                switch client.next() {
                case .write(let bytes): server.append(bytes.rawSpan)
                case let event: outcome = event
                }
                switch server.next() {
                case .reply(let bytes): client.append(bytes.rawSpan)
                case .request(let request):
                    #expect(request.destination == destination)
                    client.append(request.reply(.succeeded).rawSpan)
                case .needMore: break
                case .failed(_, let reason): Issue.record("\(reason)")
                }
                if outcome == .needMore { outcome = nil }
                if case .failed = outcome { break }
            }
            guard case .connected = outcome else {
                Issue.record("\(String(describing: outcome))")
                return
            }
        }
    }

    @Test func errorsReadWell() {
        let errors: [ProxyClientError] = [
            .unusable("a"), .malformed("b"), .authenticationRequired, .authenticationRefused, .refusedWithCode(9),
            .refused(.hostUnreachable), .status(502, phrase: "Bad Gateway"),
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
        #expect(ProxyClientError.refused(.hostUnreachable).description == "the proxy refuses: host unreachable")
    }
}
