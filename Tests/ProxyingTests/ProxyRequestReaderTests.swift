// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

/// What holds for every protocol behind the one front.
@Suite struct ProxyRequestReaderTests {
    static let application = [UInt8](text: "\u{16}\u{3}\u{1} first bytes of the application\r\n\r\n")

    @Test(arguments: Dialogue.all) func readsTheRequestAndKeepsWhatFollows(_ dialogue: Dialogue) {
        let read = Conversation.hold(
            dialogue.bytes + ProxyRequestReaderTests.application, credentials: dialogue.credentials)
        #expect(read.request == dialogue.request)
        #expect(read.written == dialogue.written)
        #expect(read.leftover == ProxyRequestReaderTests.application)
    }

    @Test(arguments: Dialogue.all) func asksForMoreAtEveryTruncation(_ dialogue: Dialogue) {
        for count in 0..<dialogue.bytes.count {
            let read = Conversation.hold(Array(dialogue.bytes.prefix(count)), credentials: dialogue.credentials)
            #expect(read.request == nil && read.reason == nil, "\(count) bytes")
            #expect(dialogue.written.starts(with: read.written), "\(count) bytes")
        }
    }

    @Test(arguments: Dialogue.all) func readsTheSameHoweverTheBytesArrive(_ dialogue: Dialogue) {
        let bytes = dialogue.bytes + ProxyRequestReaderTests.application
        let whole = Conversation.hold(bytes, credentials: dialogue.credentials)
        #expect(Conversation.hold(bytes.map { [$0] }, credentials: dialogue.credentials) == whole)
        for at in 0...bytes.count {
            let parts = [Array(bytes[..<at]), Array(bytes[at...])]
            #expect(Conversation.hold(parts, credentials: dialogue.credentials) == whole, "split at \(at)")
        }
    }

    /// A flipped bit makes another request, a refusal, or a longer message: the same one however it arrives.
    @Test(arguments: Dialogue.all) func everyFlippedBitReadsTheSameHoweverItArrives(_ dialogue: Dialogue) {
        for index in dialogue.bytes.indices {
            for bit in 0..<8 {
                var bytes = dialogue.bytes
                bytes[index] ^= 1 << bit
                let whole = Conversation.hold(bytes, credentials: dialogue.credentials)
                let parts = [Array(bytes[..<index]), [bytes[index]], Array(bytes[(index + 1)...])]
                let parted = Conversation.hold(parts, credentials: dialogue.credentials)
                #expect(parted == whole, "bit \(bit) of byte \(index)")
                guard bytes.count <= 100 else { continue }
                let single = Conversation.hold(bytes.map { [$0] }, credentials: dialogue.credentials)
                #expect(single == whole, "bit \(bit) of byte \(index)")
            }
        }
    }

    @Test(arguments: [1, 2, 3, UInt64.random(in: 4...UInt64.max)]) func neverTrapsOnRubbish(seed: UInt64) {
        var random = SplitMix(state: seed)
        for _ in 0..<3_000 {
            let dialogue = Dialogue.all[Int.random(in: 0..<Dialogue.all.count, using: &random)]
            let kept = Int.random(in: 0...dialogue.bytes.count, using: &random)
            let bytes =
                dialogue.bytes.prefix(kept)
                + (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            let read = Conversation.hold(Array(bytes), credentials: dialogue.credentials, headBound: 96)
            #expect(read.leftover.count <= bytes.count, "seed \(seed): \(bytes)")
            #expect(read.reason?.utf8.allSatisfy { (0x20...0x7E).contains($0) } ?? true, "seed \(seed): \(bytes)")
        }
    }

    @Test(arguments: UInt8.min...UInt8.max) func theFirstByteDecides(_ byte: UInt8) {
        let read = Conversation.hold([byte])
        switch byte {
        case 4, 5, 10, 13: #expect(read.events.isEmpty)
        case 22: #expect(read.events == [.failed(reply: [], reason: read.reason ?? "")])
        default:
            let isToken = HTTPHead.isToken([byte])
            #expect(read.events.isEmpty == isToken)
            #expect(isToken || read.reason?.contains("neither SOCKS nor HTTP") == true)
        }
    }

    @Test func sayingThatItIsTLS() {
        #expect(Conversation.hold([22, 3, 1]).reason?.contains("TLS") == true)
    }

    @Test func nothingComesAfterAFailure() {
        let read = Conversation.hold([[5, 0], [5, 1, 0], [5, 1, 0, 1, 1, 2, 3, 4, 0, 1]])
        #expect(read.events.count == 1)
    }

    @Test func answersInTheClientsProtocol() throws {
        let bound = try #require(TransportAddress("192.0.2.7:258"))
        let mapped = try #require(TransportAddress("[::ffff:192.0.2.7]:258"))
        let v6 = try #require(TransportAddress("[2001:db8::1]:258"))
        let to = ProxyDestination.name("example.org", port: 80)
        let socks5 = ProxyRequest(.socks5, .connect, to: to)
        let socks4 = ProxyRequest(.socks4, .connect, to: to)
        for address in [bound, mapped] {
            #expect(socks5.reply(.succeeded, boundTo: address) == [5, 0, 0, 1, 192, 0, 2, 7, 1, 2])
            #expect(socks4.reply(.succeeded, boundTo: address) == [0, 90, 1, 2, 192, 0, 2, 7])
        }
        #expect(socks5.reply(.succeeded, boundTo: v6) == [5, 0, 0, 4] + Dialogue.v6 + [1, 2])
        #expect(socks4.reply(.succeeded, boundTo: v6) == [0, 90, 1, 2, 0, 0, 0, 0])
        for reply in ProxyReply.allCases {
            #expect(socks5.reply(reply, because: "x") == [5, reply.rawValue, 0, 1, 0, 0, 0, 0, 0, 0])
            #expect(socks4.reply(reply) == [0, reply == .succeeded ? 90 : 91, 0, 0, 0, 0, 0, 0])
        }
        #expect(ProxyReply.allCases.map(\.rawValue) == Array(0...8))
        #expect(Set(ProxyReply.allCases.map(\.description)).count == 9)
    }

    @Test func destinationsReadWell() {
        #expect(ProxyDestination(host: "2001:db8::1", port: 1).description == "[2001:db8::1]:1")
        #expect(ProxyDestination(host: "192.0.2.1", port: 1).hostAndPort.address != nil)
        #expect(ProxyDestination(host: "127.1", port: 1) == .name("127.1", port: 1))
        #expect(ProxyDestination(host: "a", port: 9).description == "a:9")
    }
}

@Suite struct ProxyCredentialsTests {
    @Test func onlyTheSameMatch() {
        let wanted = ProxyCredentials(user: "alice", password: "abab")
        #expect(wanted.matches(ProxyCredentials(user: "alice", password: "abab")))
        for (user, password) in [
            ("alice", "ab"), ("alice", "ababab"), ("alice", ""), ("", "abab"), ("alicealice", "abab"), ("", ""),
            ("alice", "abac"), ("blice", "abab"), ("abab", "alice"),
        ] {
            #expect(!wanted.matches(ProxyCredentials(user: user, password: password)), "\(user) \(password)")
        }
        let empty = ProxyCredentials(user: "", password: "")
        #expect(empty.matches(empty) && !empty.matches(wanted))
        #expect(!empty.matches(ProxyCredentials(user: "\0", password: "")))
    }

    @Test func thePasswordIsNeverPrinted() {
        #expect("\(Dialogue.alice)" == "alice")
        for request in Dialogue.all.map(\.request) where request.credentials == Dialogue.alice {
            #expect(!"\([Dialogue.alice]) \(ProxyEvent.request(request))".contains("s3cret"))
        }
    }

    @Test(arguments: [
        ("", ":", "Og=="), ("a", "", "YTo="), ("a", "b", "YTpi"),
        ("Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test", "123\u{A3}", "dGVzdDoxMjPCow=="),
    ]) func basicTokens(_ user: String, _ password: String, _ token: String) {
        let credentials = ProxyCredentials(user: user, password: password == ":" ? "" : password)
        #expect(credentials.basic == token)
        #expect(ProxyCredentials(basic: token) == credentials)
        #expect(ProxyCredentials(basic: token.filter { $0 != "=" }) == credentials)
    }

    @Test(arguments: ["", "YQ==", "YTo", "YTo=x", "YTo==", "=", "====", "Og===", "YTp", "Y", "YT pi", "YTo-", "O!=="])
    func refusesOtherTokens(_ token: String) {
        // The one that is good for comparison's sake.
        #expect((ProxyCredentials(basic: token) != nil) == (token == "YTo"))
    }

    @Test func aColonBelongsToThePassword() {
        #expect(ProxyCredentials(user: "a:b", password: "c").basic == nil)
        #expect(ProxyCredentials(basic: "YTpiOmM=") == ProxyCredentials(user: "a", password: "b:c"))
    }
}
