// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing
import TestSupport

@testable import Proxying

/// A message in hexadecimal, as captured.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter(\.isHexDigit)
    return stride(from: 0, to: digits.count, by: 2).compactMap { start in
        let index = digits.index(digits.startIndex, offsetBy: start)
        return UInt8(digits[index..<digits.index(index, offsetBy: 2)], radix: 16)
    }
}

/// Questions as real programs send them.
enum Captured {
    /// `dig HoMe.natfwt.internal AAAA`: EDNS with a cookie, AD wanted.
    static let dig = hex(
        """
        b8d2 0120 0001 0000 0000 0001 04486f4d65 066e6174667774 08696e7465726e616c 00 001c 0001
        00 0029 04d0 0000 0000 000c 000a 0008 f1b0b2c3d4e5f607
        """)
    /// getaddrinfo of glibc, without EDNS.
    static let glibc = hex("2f11 0100 0001 0000 0000 0000 04686f6d65 066e6174667774 08696e7465726e616c 00 0001 0001")
    /// systemd-resolved: DNSSEC OK.
    static let resolved = hex(
        "0c65 0100 0001 0000 0000 0001 07 6578616d706c65 03 6f7267 00 0041 0001 00 0029 05c0 0000 8000 0000")
}

@Suite("DNSQuery")
struct DNSQueryTests {
    @Test("questions of real programs are read") func captured() throws {
        let dig = try DNSQuery(Captured.dig.rawSpan)
        #expect(dig.id == 0xB8D2 && dig.type == .aaaa && dig.queryClass == .internet)
        #expect(dig.name == DNSName("HoMe.natfwt.internal") && dig.name.text == "home.natfwt.internal")
        #expect(dig.edns == DNSQuery.Extension(size: 1_232, wantsSignatures: false))
        let glibc = try DNSQuery(Captured.glibc.rawSpan)
        #expect(glibc.type == .a && glibc.edns == nil)
        let resolved = try DNSQuery(Captured.resolved.rawSpan)
        #expect(resolved.type.rawValue == 65 && resolved.edns?.wantsSignatures == true)
    }

    @Test("every cut of a question is answered with a format error, or not at all") func cut() {
        for message in [Captured.dig, Captured.glibc, Captured.resolved] {
            for count in message.indices {
                let fault = fault(of: Array(message.prefix(count)))
                #expect(count < 12 ? fault == .notAQuestion : code(fault) == .formatError)
            }
            #expect(code(fault(of: message + [0])) == .formatError)
        }
    }

    private static let head = "0001 0100 0001 0000 0000"
    private static let faulty: [(String, [UInt8], DNSResponseCode?)] = [
        ("an answer", hex("0001 8180 0001 0000 0000 0000 00 0001 0001"), nil),
        ("a status request", hex("0001 1000 0001 0000 0000 0000 00 0001 0001"), .notImplemented),
        ("an update", hex("0001 2800 0001 0000 0000 0000 00 0006 0001"), .notImplemented),
        ("no question", hex("0001 0100 0000 0000 0000 0000"), .formatError),
        ("two questions", hex("0001 0100 0002 0000 0000 0000 00 0001 0001 00 0001 0001"), .formatError),
        ("an answer in a question", hex("0001 0100 0001 0001 0000 0000 00 0001 0001"), .formatError),
        ("a pointer to itself", hex(head + "0000 c00c 0001 0001"), .formatError),
        ("a pointer behind a label", hex(head + "0000 0161 c00c 0001 0001"), .formatError),
        ("an extended label", hex(head + "0000 41 00 0001 0001"), .formatError),
        ("a label of 64", hex(head + "0000 40") + [UInt8](repeating: 97, count: 64) + [0, 0, 1, 0, 1], .formatError),
        ("a name of 257", hex(head + "0000") + pairs(128) + [0, 0, 1, 0, 1], .formatError),
        (
            "two OPT", hex(head + "0002 00 0001 0001" + "00 0029 1000 00000000 0000" + "00 0029 1000 00000000 0000"),
            .formatError
        ),
        ("an OPT with a name", hex(head + "0001 00 0001 0001 0161 00 0029 1000 00000000 0000"), .formatError),
        (
            "an OPT that is longer than the message", hex(head + "0001 00 0001 0001 00 0029 1000 00000000 0001"),
            .formatError
        ),
        ("65,535 more records", hex(head + "ffff 00 0001 0001"), .formatError),
    ]

    private static func pairs(_ count: Int) -> [UInt8] { (0..<count).flatMap { _ in [1, 97] as [UInt8] } }

    @Test("what is wrong is told, or is nothing to answer", arguments: faulty)
    func refused(_ name: String, _ message: [UInt8], _ expected: DNSResponseCode?) {
        let fault = fault(of: message)
        if let expected { #expect(code(fault) == expected) } else { #expect(fault == .notAQuestion) }
        if case .answered(let bytes) = fault { #expect(bytes.count == 12 && bytes[2] & 0x80 != 0) }
    }

    @Test("other records beside the question are passed over, also with a pointer for a name") func others() throws {
        let message = hex(
            Self.head + "0002 0161 00 0001 0001 c00c 00fa 00ff 00000000 0002 abcd 00 0029 1000 00000000 0000")
        #expect(try DNSQuery(message.rawSpan).edns?.size == 4_096)
    }

    @Test("the longest name is one") func longest() throws {
        let name = String(repeating: "a.", count: 127)
        let message = hex(Self.head + "0000") + (DNSName(name)?.wire ?? []) + [0, 1, 0, 1]
        #expect(try DNSQuery(message.rawSpan).name.wire.count == 255)
        #expect(DNSName(name + "a") == nil)
        #expect(DNSName("a..b") == nil && DNSName(String(repeating: "a", count: 64)) == nil)
    }

    @Test("another version of EDNS is told so") func badVersion() {
        let fault = fault(of: hex(Self.head + "0001 00 0001 0001 00 0029 1000 00010000 0000"))
        guard case .answered(let bytes) = fault else { return #expect(Bool(false)) }
        // BADVERS is 16: its low bits in the header, the rest in the OPT record.
        #expect(bytes[3] & 15 == 0)
        #expect(bytes.suffix(11) == [0, 0, 41, 0x04, 0xD0, 1, 0, 0, 0, 0, 0])
    }

    @Test("nothing traps, whatever comes", arguments: 0..<32 as Range<UInt64>) func anything(_ seed: UInt64) {
        var random = SeededRandom(seed)
        let seeds = [Captured.dig, Captured.glibc, Captured.resolved] + Self.faulty.map(\.1)
        for _ in 0..<2_000 {
            var message = seeds.randomElement(using: &random) ?? []
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let index = Int.random(in: 0..<max(1, message.count), using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0 where index < message.count: message[index] = .random(in: .min ... .max, using: &random)
                case 1 where index < message.count: message.removeSubrange(index..<message.count)
                default: message.insert(.random(in: .min ... .max, using: &random), at: min(index, message.count))
                }
            }
            check(message, seed)
        }
    }

    /// A question's answers can be read by the same reader, once they are called questions.
    private func check(_ message: [UInt8], _ seed: UInt64) {
        guard let query = try? DNSQuery(message.rawSpan) else { return }
        let zone = DNSName("natfwt.internal")
        for answer in [
            query.failure(.serverFailure), zone.map { query.absence(.nameError, in: $0, lifetime: 5) },
            query.answer(.address(.loopbackV6), lifetime: 5),
        ].compactMap(\.self) {
            #expect(answer.count <= 512, "seed \(seed)")
            #expect(Array(answer.prefix(2)) == Array(message.prefix(2)), "seed \(seed)")
            #expect(answer.dropFirst(12).starts(with: query.name.wire), "seed \(seed)")
        }
        _ = (query.name.text, query.name.reversedAddress)
        let forwarding = DNSForwarding(query, message, id: 0x1234)
        #expect(forwarding.answer(message.rawSpan) == nil, "a question is no answer, seed \(seed)")
    }

    private func fault(of message: [UInt8]) -> DNSQueryFault? {
        do throws(DNSQueryFault) {
            _ = try DNSQuery(message.rawSpan)
            return nil
        } catch { return error }
    }

    private func code(_ fault: DNSQueryFault?) -> DNSResponseCode? {
        guard case .answered(let bytes) = fault else { return nil }
        return DNSResponseCode(rawValue: UInt16(bytes[3] & 15))
    }
}

@Suite("DNS answers")
struct DNSAnswerTests {
    private let zone = DNSName("natfwt.internal")

    @Test("an address, with the question as it was asked") func address() throws {
        let query = try DNSQuery(Captured.dig.rawSpan)
        let node = IPAddress(v6: 0x2001_0021 << 96 | 7)
        let answer = query.answer(.address(node), lifetime: 30)
        #expect(
            answer
                == hex("b8d2 8580 0001 0001 0000 0001 04486f4d65 066e6174667774 08696e7465726e616c 00 001c 0001")
                + hex("c00c 001c 0001 0000001e 0010 20010021000000000000000000000007")
                + hex("00 0029 04d0 00000000 0000"))
    }

    @Test("an IPv4 address, without EDNS where none was asked with") func addressV4() throws {
        let query = try DNSQuery(Captured.glibc.rawSpan)
        let answer = query.answer(.address(IPAddress(v4: 0xC612_0007)), lifetime: 5)
        #expect(answer.suffix(16) == hex("c00c 0001 0001 00000005 0004 c6120007")[...])
        #expect(answer[11] == 0)
    }

    @Test("an absence has the zone's SOA record, which begins within the question") func absence() throws {
        let query = try DNSQuery(Captured.glibc.rawSpan)
        let answer = query.absence(.nameError, in: try #require(zone), lifetime: 5)
        #expect(
            answer
                == hex("2f11 8583 0001 0000 0001 0000 04686f6d65 066e6174667774 08696e7465726e616c 00 0001 0001")
                + hex("c011 0006 0001 00000005 0026 c011 066e6f626f647907696e76616c696400")
                + hex("00000001 00000e10 000004b0 00093a80 00000005"))
    }

    @Test("names of addresses, there and back", arguments: ["198.18.0.7", "2001:21::7", "255.255.255.255", "::"])
    func reverse(_ text: String) throws {
        let address = try #require(IPAddress(text))
        let name = try #require(DNSName(reverseOf: address))
        #expect(name.reversedAddress == address)
        #expect(DNSName(name.text?.uppercased() ?? "")?.reversedAddress == address)
    }

    @Test(
        "what is no address's name",
        arguments: [
            "18.198.in-addr.arpa", "1.0.018.198.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "a.b.c.d.in-addr.arpa",
            "7.ip6.arpa", "in-addr.arpa", "home.natfwt.internal", "+1.0.0.1.in-addr.arpa",
            String(repeating: "g.", count: 32) + "ip6.arpa", String(repeating: "+.", count: 32) + "ip6.arpa",
        ])
    func noReverse(_ text: String) { #expect(DNSName(text)?.reversedAddress == nil) }

    @Test("a name is below a zone by whole labels, whatever the case") func within() throws {
        let zone = try #require(zone)
        for text in ["home.NATFWT.internal", "natfwt.internal", "a.b.natfwt.Internal."] {
            #expect(DNSName(text)?.isWithin(zone) == true)
        }
        for text in ["internal", "xnatfwt.internal", "natfwt.internal.org", "home"] {
            #expect(DNSName(text)?.isWithin(zone) == false)
        }
    }
}

@Suite("DNSForwarding")
struct DNSForwardingTests {
    @Test("an answer is the one to the question, and has its number") func answer() throws {
        let query = try DNSQuery(Captured.resolved.rawSpan)
        let forwarding = DNSForwarding(query, Captured.resolved, id: 0x1234)
        #expect(forwarding.message == [0x12, 0x34] + Captured.resolved.dropFirst(2))
        var reply = forwarding.message
        reply[2] |= 0x80
        #expect(forwarding.answer(reply.rawSpan) == [0x0C, 0x65] + reply.dropFirst(2))
        // The server may write the name in another case.
        var shouted = reply
        shouted[13] = UInt8(ascii: "E")
        #expect(forwarding.answer(shouted.rawSpan) != nil)
        for index in [0, 1, 13, 25, 27] {
            var other = reply
            other[index] ^= 3
            #expect(forwarding.answer(other.rawSpan) == nil, "octet \(index)")
        }
        for count in 0..<29 { #expect(forwarding.answer(Array(reply.prefix(count)).rawSpan) == nil) }
        #expect(forwarding.answer(hex("1234 8181 0000 0000 0000 0000").rawSpan) != nil, "a server without EDNS")
        #expect(forwarding.answer(hex("1234 8180 0000 0000 0000 0000").rawSpan) == nil)
    }

    @Test("a resolver's servers") func configuration() {
        let text =
            "# x\nnameserver 192.0.2.1\nsearch a\n nameserver\t2001:db8::1 \nnameserver no\nnameserver\nnameserver ::1\nnameserver ::2"
        let servers = ResolverConfiguration(text).servers.map(\.description)
        #expect(servers == ["192.0.2.1:53", "[2001:db8::1]:53", "[::1]:53"])
    }
}
