// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

/// What a client sends that is refused, with what is written to it in the end and a word of the reason.
struct Refused: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: [UInt8]
    var credentials: ProxyCredentials?
    let reply: [UInt8]
    let word: String

    var testDescription: String { name }

    init(
        _ name: String, _ bytes: [UInt8], asking credentials: ProxyCredentials? = nil, _ reply: [UInt8], _ word: String
    ) {
        self.name = name
        self.bytes = bytes
        self.credentials = credentials
        self.reply = reply
        self.word = word
    }

    static func five(_ reply: ProxyReply) -> [UInt8] { [5, reply.rawValue, 0, 1, 0, 0, 0, 0, 0, 0] }
    static let four: [UInt8] = [0, 91, 0, 0, 0, 0, 0, 0]
    private static let name255 = String(repeating: "n", count: 255)

    static let socks5: [Refused] = [
        Refused("no method", [5, 0], [5, 0xFF], "no authentication"),
        Refused("an unknown method", [5, 1, 1], [5, 0xFF], "no authentication"),
        Refused("no password where one is asked for", [5, 1, 0], asking: Dialogue.alice, [5, 0xFF], "password"),
        Refused("another version of the password", [5, 1, 2, 5], asking: Dialogue.alice, [1, 1], "version"),
        Refused(
            "another password", [5, 1, 2, 1] + .counted("alice") + .counted("s3cres"), asking: Dialogue.alice, [1, 1],
            "wrong user name or password"),
        Refused(
            "another user", [5, 1, 2, 1] + .counted("alicf") + .counted("s3cret"), asking: Dialogue.alice, [1, 1],
            "wrong user name or password"),
        Refused(
            "empty credentials", [5, 1, 2, 1, 0, 0], asking: Dialogue.alice, [1, 1], "wrong user name or password"),
        Refused("version 4 of the request", [5, 1, 0, 4], five(.generalFailure), "version"),
        Refused("a reserved byte", [5, 1, 0, 5, 1, 1], five(.generalFailure), "reserved"),
        Refused("address type 0", [5, 1, 0, 5, 1, 0, 0], five(.addressTypeNotSupported), "type 0"),
        Refused("address type 2", [5, 1, 0, 5, 1, 0, 2], five(.addressTypeNotSupported), "type 2"),
        Refused("address type 255", [5, 1, 0, 5, 1, 0, 255], five(.addressTypeNotSupported), "type 255"),
        Refused("BIND", [5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 9], five(.commandNotSupported), "BIND"),
        Refused("command 0", [5, 1, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 9], five(.commandNotSupported), "command 0"),
        Refused("command 255", [5, 1, 0, 5, 255, 0, 1, 1, 2, 3, 4, 0, 9], five(.commandNotSupported), "command 255"),
        Refused("port 0", [5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0, 0], five(.generalFailure), "port 0"),
        Refused("an empty name", [5, 1, 0, 5, 1, 0, 3, 0, 0, 9], five(.generalFailure), "empty"),
    ]

    static let names: [Refused] =
        [
            "a\0b", "\0", "a b", "a\n", "\u{7F}", "a\u{85}", "\u{A0}", "\u{202E}moc", "\u{2028}", "\u{E000}",
        ].map { named(Array($0.utf8)) } + [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [97, 0x80]].map(named)

    private static func named(_ bytes: [UInt8]) -> Refused {
        Refused(
            "the name \(bytes)", [5, 1, 0, 5, 1, 0, 3, UInt8(bytes.count)] + bytes + [0, 9], five(.generalFailure),
            "not printable")
    }

    static let socks4: [Refused] = [
        Refused("SOCKS4 where a password is asked for", [4], asking: Dialogue.alice, four, "password"),
        Refused("SOCKS4 BIND", [4, 2, 0, 9, 1, 2, 3, 4, 0], four, "command 2"),
        Refused("SOCKS4 port 0", [4, 1, 0, 0, 1, 2, 3, 4, 0], four, "port 0"),
        Refused("SOCKS4A with an empty name", [4, 1, 0, 9, 0, 0, 0, 1, 0, 0], four, "empty"),
        Refused("SOCKS4A with another name", [4, 1, 0, 9, 0, 0, 0, 1, 0, 32, 0], four, "not printable"),
        Refused("SOCKS4 with a long user ID", [4, 1, 0, 9, 1, 2, 3, 4] + Array(name255.utf8) + [97], four, "user ID"),
        Refused(
            "SOCKS4A with a long name", [4, 1, 0, 9, 0, 0, 0, 1, 0] + Array(name255.utf8) + [97], four,
            "name is longer"),
    ]
}

@Suite struct SOCKSTests {
    @Test(arguments: Refused.socks5 + Refused.names + Refused.socks4)
    func refusesInTheWordsOfTheProtocol(_ refused: Refused) throws {
        let read = Conversation.hold(refused.bytes, credentials: refused.credentials)
        guard case .failed(let reply, let reason) = read.events.last else {
            Issue.record("\(read)")
            return
        }
        #expect(reply == refused.reply)
        #expect(reason.contains(refused.word), "\(reason)")
        #expect(!reason.contains("s3cre"))
    }

    @Test(arguments: Refused.socks5 + Refused.names + Refused.socks4)
    func refusesTheSameHoweverTheBytesArrive(_ refused: Refused) {
        let whole = Conversation.hold(refused.bytes, credentials: refused.credentials)
        #expect(Conversation.hold(refused.bytes.map { [$0] }, credentials: refused.credentials) == whole)
        for count in 0..<refused.bytes.count {
            let part = Conversation.hold(Array(refused.bytes.prefix(count)), credentials: refused.credentials)
            #expect(whole.events.starts(with: part.events), "\(count) bytes")
            #expect(part.reason == nil || refused.word == "password", "refused after \(count) bytes already")
        }
    }
}

@Suite struct SOCKS5DatagramTests {
    static let good: [(header: [UInt8], destination: ProxyDestination)] = [
        ([0, 0, 0, 1, 192, 0, 2, 1, 0, 53], Dialogue.address("192.0.2.1:53")),
        ([0, 0, 0, 4] + Dialogue.v6 + [0, 53], Dialogue.address("[2001:db8::1]:53")),
        ([0, 0, 0, 3] + .counted("example.org") + [0, 53], .name("example.org", port: 53)),
        ([0, 0, 0, 3] + .counted("127.0.0.1") + [0, 53], Dialogue.address("127.0.0.1:53")),
    ]

    @Test(arguments: 0..<4) func readsTheHeaderAndWhereTheDataBegins(_ index: Int) throws {
        let (header, destination) = SOCKS5DatagramTests.good[index]
        for data in [[], [1], [UInt8](repeating: 7, count: 1_400)] as [[UInt8]] {
            let read = try SOCKS5Datagram((header + data).rawSpan)
            #expect(read.destination == destination)
            #expect(read.dataOffset == header.count)
        }
    }

    @Test(arguments: 0..<4) func everyTruncationIsOne(_ index: Int) {
        let header = SOCKS5DatagramTests.good[index].header
        for count in 0..<header.count {
            let part = Array(header.prefix(count))
            #expect(throws: SOCKS5DatagramError.truncated, "\(count)") { try SOCKS5Datagram(part.rawSpan) }
        }
    }

    @Test(arguments: UInt8(1)...UInt8.max) func dropsFragments(_ number: UInt8) {
        let bytes: [UInt8] = [0, 0, number, 1, 192, 0, 2, 1, 0, 53]
        #expect(throws: SOCKS5DatagramError.fragment(number)) { try SOCKS5Datagram(bytes.rawSpan) }
    }

    @Test(
        arguments: [
            ([0, 1, 0, 1, 192, 0, 2, 1, 0, 53], SOCKS5DatagramError.reserved(1)),
            ([1, 0, 0, 1, 192, 0, 2, 1, 0, 53], .reserved(256)),
            ([0, 0, 0, 2, 192, 0, 2, 1, 0, 53], .destination("address type 2 is unknown")),
            ([0, 0, 0, 1, 192, 0, 2, 1, 0, 0], .destination("the destination has port 0")),
            ([0, 0, 0, 3, 0, 0, 53], .destination("the destination's name is empty")),
            ([0, 0, 0, 3, 1, 0, 0, 53], .destination("the destination's name is not printable")),
        ] as [([UInt8], SOCKS5DatagramError)])
    func dropsWhatHasNoDestination(_ bytes: [UInt8], _ error: SOCKS5DatagramError) {
        #expect(throws: error) { try SOCKS5Datagram(bytes.rawSpan) }
    }

    @Test func writesWhatItReads() throws {
        for (text, size) in [("192.0.2.1:53", 10), ("[2001:db8::1]:65535", 22), ("[::ffff:192.0.2.1]:53", 10)] {
            let source = try #require(TransportAddress(text))
            var buffer: [UInt8] = [9]
            SOCKS5Datagram.appendHeader(from: source, to: &buffer)
            #expect(buffer.count == 1 + size)
            let read = try SOCKS5Datagram(Array(buffer.dropFirst()).rawSpan)
            #expect(read.destination == .address(TransportAddress(source.ip.canonical, port: source.port)))
            #expect(read.dataOffset == size && size <= SOCKS5Datagram.maxHeaderSize)
        }
    }

    /// An answer's header names what the client had sent to, as it had named it.
    @Test(arguments: ["192.0.2.1:53", "[2001:db8::1]:65535", "home.natfwt.internal:22", "a:1"])
    func headerOfAnAnswer(text: String) throws {
        let destination = ProxyDestination(try #require(HostAndPort(text)))
        let header = SOCKS5Datagram.header(from: destination)
        let read = try SOCKS5Datagram((header + [1, 2, 3]).rawSpan)
        #expect(read.destination == destination && read.dataOffset == header.count)
    }

    @Test(arguments: [1, 2, UInt64.random(in: 3...UInt64.max)]) func neverTrapsOnRubbish(seed: UInt64) {
        var random = SplitMix(state: seed)
        for _ in 0..<5_000 {
            let rubbish = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let bytes = [0, 0, 0, UInt8.random(in: 0...5, using: &random)] + rubbish
            let read = try? SOCKS5Datagram(bytes.rawSpan)
            #expect((read?.dataOffset ?? 0) <= bytes.count, "seed \(seed): \(bytes)")
        }
    }

    @Test func errorsReadWell() {
        let errors: [SOCKS5DatagramError] = [.truncated, .reserved(1), .fragment(2), .destination("no")]
        #expect(Set(errors.map(\.description)).count == errors.count)
    }
}
