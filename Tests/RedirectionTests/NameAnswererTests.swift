// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import TestSupport
import Testing

@testable import Redirection

@Suite("NameAnswerer", .enabled(if: Tool.has("dig")))
struct NameAnswererTests {
    @Test("a node has an address of each family, and they have its name", arguments: ["+notcp", "+tcp"])
    func addresses(_ transport: String) throws {
        let site = try NameSite()
        defer { site.end() }
        #expect(try site.dig(transport, "+short", "home.natfwt.internal", "AAAA") == "2001:21::7\n")
        #expect(try site.dig(transport, "+short", "HOME.natfwt.Internal", "A") == "198.18.0.8\n")
        #expect(try site.dig(transport, "+short", "-x", "198.18.0.8") == "home.natfwt.internal.\n")
        #expect(try site.dig(transport, "+short", "-x", "2001:21::7") == "home.natfwt.internal.\n")
        #expect(site.finder.asked == ["home", "home"])
        #expect(site.addresses.meaning(of: IPAddress(v4: 0xC612_0008)) == .node(NameSite.home))
        #expect(site.addresses.meaning(of: IPAddress(v4: 0xC612_0009)) == .nobody)
        #expect(site.addresses.meaning(of: NameSite.home) == .node(NameSite.home))
        #expect(site.addresses.meaning(of: .loopbackV4) == .host)
    }

    private static let absences: [(words: [String], status: String)] = [
        (["home.natfwt.internal", "MX"], "NOERROR"), (["home.natfwt.internal", "HTTPS"], "NOERROR"),
        (["natfwt.internal", "A"], "NOERROR"), (["nobody.natfwt.internal", "AAAA"], "NXDOMAIN"),
        (["www.home.natfwt.internal", "A"], "NXDOMAIN"), (["-x", "198.18.0.9"], "NXDOMAIN"),
        (["-x", "2001:20::1"], "NXDOMAIN"), (["18.198.in-addr.arpa", "PTR"], "NOERROR"),
        (["7.18.198.in-addr.arpa", "PTR"], "NOERROR"), (["-x", "198.18.0.8", "-t", "TXT"], "NOERROR"),
    ]

    @Test("what is not there may be remembered for a while", arguments: absences)
    func absent(_ words: [String], _ status: String) throws {
        let site = try NameSite()
        defer { site.end() }
        _ = site.addresses.mappedAddress(of: NameSite.home)
        let text = try site.dig(words)
        #expect(text.contains("status: \(status)") && text.contains("ANSWER: 0, AUTHORITY: 1"), "\(text)")
        #expect(text.contains("SOA") && text.contains("nobody.invalid."), "\(text)")
        #expect(site.upstream.received.isEmpty)
    }

    @Test("failures say what they are") func failures() throws {
        let site = try NameSite()
        defer { site.end() }
        site.finder.known["away"] = .failure(.noRelay)
        site.finder.known["slow"] = .failure(RouteFailure(.timedOut, "later"))
        #expect(try site.dig("away.natfwt.internal").contains("status: SERVFAIL"))
        #expect(try site.dig("slow.natfwt.internal").contains("status: SERVFAIL"))
        #expect(try site.dig("home.natfwt.internal", "-c", "CH").contains("status: REFUSED"))
        #expect(try site.dig("example.org", "AXFR", "+tcp").contains("Transfer failed"))
        #expect(try site.dig("+opcode=status", "home.natfwt.internal").contains("status: NOTIMP"))
        #expect(try site.dig("+edns=1", "+noednsnegotiation", "home.natfwt.internal").contains("status: BADVERS"))
        #expect(try site.dig("+header-only", "home.natfwt.internal").contains("status: FORMERR"))
        #expect(try site.dig("natfwt.internal", "SOA", "+short").hasPrefix("natfwt.internal. nobody.invalid. 1 "))
    }

    @Test("other names are asked for elsewhere, each with a number of its own from a port of its own") func forwarded()
        throws
    {
        let site = try NameSite()
        defer { site.end() }
        let child = try site.start(["+short", "example.org", "A"])
        try site.answersUpstream { question in
            // A forged one first: it has another number.
            let forged = [question[0] ^ 1] + question.dropFirst()
            site.upstream.send(NameAnswererTests.address(forged, last: 66), to: site.upstream.senders.last)
            return NameAnswererTests.address(question, last: 1)
        }
        try site.runner.run("dig") { !child.isRunning }
        #expect(child.output == "192.0.2.1\n")
        #expect(site.answerer.counters.forwarded == 1 && site.finder.asked.isEmpty)
    }

    @Test("numbers and ports do not repeat") func unguessable() throws {
        let site = try NameSite()
        defer { site.end() }
        let client = try TestDatagrams(site.runner.loop, to: try site.address)
        for _ in 0..<40 { client.send(NameAnswererTests.question) }
        try site.answersUpstream(40) { NameAnswererTests.address($0, last: 1) }
        try site.runner.run("answers") { client.received.count == 40 }
        #expect(Set(site.upstream.received.map { Array($0.prefix(2)) }).count > 36)
        #expect(Set(site.upstream.senders).count > 36)
        #expect(client.received.allSatisfy { $0.starts(with: [0x12, 0x34]) })
        client.close()
    }

    @Test("a silent server is passed over; where none answers, that is told") func silent() throws {
        let silent = try LoopRunner()
        defer { silent.end() }
        let nobody = try freePort(silent.loop)
        let site = try NameSite(
            servers: NameServers([
                TransportAddress(.loopbackV4, port: nobody), TransportAddress(.loopbackV4, port: nobody),
            ]))
        defer { site.end() }
        #expect(try site.dig("example.org").contains("status: SERVFAIL"))
        #expect(site.answerer.counters.failed == 1)
    }

    @Test("no more questions than so many are under way") func bounded() throws {
        let site = try NameSite()
        defer { site.end() }
        let client = try TestDatagrams(site.runner.loop, to: try site.address)
        for _ in 0..<3 {
            for _ in 0..<100 { client.send(NameAnswererTests.question) }
            site.runner.settle()
        }
        try site.runner.run("refusals") { client.received.count == 300 - NameForwarder.most }
        #expect(client.received.allSatisfy { $0[3] & 15 == 2 })
        client.close()
    }

    @Test("the host's servers are read again when they have changed, and never the answerer itself") func servers()
        throws
    {
        let path = NSTemporaryDirectory() + "resolv-\(UUID().uuidString.prefix(8))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let servers = NameServers(file: path)
        var now = Instant(nanoseconds: 1_000_000_000)
        #expect(servers.current(now: now).isEmpty)
        try "nameserver 192.0.2.1\nnameserver 192.0.2.2\n".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(servers.current(now: now).isEmpty, "not looked at within a second")
        now = now + .seconds(1)
        #expect(servers.current(now: now).map(\.description) == ["192.0.2.1:53", "192.0.2.2:53"])
        servers.own = [TransportAddress(IPAddress(v4: 0xC000_0201), port: 53)]
        #expect(servers.current(now: now).map(\.description) == ["192.0.2.2:53"])
        try "nameserver ::1\n".write(toFile: path, atomically: true, encoding: .utf8)
        now = now + .seconds(1)
        #expect(servers.current(now: now).map(\.description) == ["[::1]:53"])
        try FileManager.default.removeItem(atPath: path)
        now = now + .seconds(1)
        #expect(servers.current(now: now).map(\.description) == ["[::1]:53"])
    }

    @Test("over TCP several questions are answered, also behind the end of them") func pipelined() throws {
        let site = try NameSite()
        defer { site.end() }
        let peer = try TestPeer.connect(site.runner.loop, try site.address.port)
        let home =
            [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4] + Array("home\u{6}natfwt\u{8}internal\0\0\u{1c}\0\u{1}".utf8)
        for _ in 0..<50 { peer.send([0, UInt8(home.count)] + home) }
        peer.finish()
        try site.runner.run("the end") { peer.hasReceivedEnd }
        #expect(peer.received.count == 50 * (2 + home.count + 28))
        // What is no question ends the connection, and so does a length that no question has.
        for bytes in [[0, 3, 1, 2, 3], [255, 255]] as [[UInt8]] {
            let other = try TestPeer.connect(site.runner.loop, try site.address.port)
            other.send(bytes)
            try site.runner.run("the end") { other.isOver }
        }
        try site.runner.run("nothing left") { site.runner.loop.buffers.leased == 0 }
    }

    /// For the address of example.org.
    private static let question =
        [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7] + Array("example\u{3}org\0\0\u{1}\0\u{1}".utf8)

    /// The answer of a server: 192.0.2.x.
    private static func address(_ question: [UInt8], last: UInt8) -> [UInt8] {
        // Without the OPT record that the question may have.
        let kept = Array(question.prefix(12 + 13 + 4))
        var answer = kept
        answer.replaceSubrange(2..<12, with: [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
        return answer + [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]
    }
}
