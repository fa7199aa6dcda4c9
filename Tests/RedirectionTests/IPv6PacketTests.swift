// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

@testable import Redirection

@Suite struct IPv6PacketTests {
    @Test func whatIsReadOfAPacket() throws {
        let tcp = try TestPacket.tcp(1_000, 22, flags: [.syn, .ack], offset: 8, payload: 10).parsed()
        #expect(tcp.source == TestPacket.here && tcp.destination == TestPacket.there)
        #expect(tcp.transport == .tcp && tcp.sourcePort == 1_000 && tcp.destinationPort == 22)
        #expect(tcp.transportOffset == 40 && tcp.transportHeaderSize == 32 && tcp.length == 40 + 32 + 10)
        #expect(!tcp.tcpFlags.opens && tcp.tcpFlags.contains(.syn))
        let udp = try TestPacket.udp(53, 4_000, payload: [1, 2]).parsed()
        #expect(udp.transport == .udp && udp.sourcePort == 53 && udp.destinationPort == 4_000)
        let echo = try TestPacket.icmp(ICMPv6.echoRequest, identifier: 99).parsed()
        #expect(echo.transport == .icmp && echo.icmpType == 128 && echo.icmpIdentifier == 99)
    }

    /// Options are read through, wherever they may stand (RFC 8200, 4.1).
    @Test func optionsAreReadThrough() throws {
        var packet = TestPacket.udp(1, 2)
        packet.extensions = [
            (0, [0] + [UInt8](repeating: 0, count: 6)), (60, [1] + [UInt8](repeating: 0, count: 14)),
        ]
        let parsed = try packet.parsed()
        #expect(parsed.transportOffset == 40 + 8 + 16 && parsed.destinationPort == 2)
    }

    struct Bad: CustomTestStringConvertible {
        let name: String
        let fault: IPv6Packet.Fault
        let bytes: [UInt8]
        var testDescription: String { name }
        init(
            _ name: String, _ fault: IPv6Packet.Fault, _ packet: TestPacket,
            _ change: (inout TestPacket) -> Void = { _ in }
        ) {
            var packet = packet
            change(&packet)
            self.name = name
            self.fault = fault
            bytes = packet.bytes
        }
    }

    private static let option: [UInt8] = [0] + [UInt8](repeating: 0, count: 6)
    static let bad = [
        Bad("IPv4", .notIPv6, .udp(1, 2)) { $0.version = 4 },
        Bad("longer than it says", .malformed, .udp(1, 2)) { $0.lie = -1 },
        Bad("shorter than it says", .malformed, .udp(1, 2)) { $0.lie = 1 },
        Bad("TCP without its end", .malformed, .tcp(1, 2)) { $0.body.removeLast(7) },
        Bad("TCP with a header of 16 bytes", .malformed, .tcp(1, 2, offset: 4)),
        Bad("TCP with a header that is not there", .malformed, .tcp(1, 2)) { $0.body[12] = 15 << 4 },
        Bad("UDP of 7 bytes", .malformed, .udp(1, 2)) { $0.body.removeLast() },
        Bad("ICMPv6 of 4 bytes", .malformed, .icmp(128)) { $0.body.removeLast(4) },
        Bad("a fragment", .fragment, .udp(1, 2)) { $0.extensions = [(44, option)] },
        Bad("a routing header", .transport, .udp(1, 2)) { $0.extensions = [(43, option)] },
        Bad("IPsec", .transport, .udp(1, 2)) { $0.extensions = [(51, option)] },
        Bad("options for every hop behind others", .transport, .udp(1, 2)) {
            $0.extensions = [(60, option), (0, option)]
        },
        Bad("options without end", .transport, .udp(1, 2)) {
            $0.extensions = Array(repeating: (60, option), count: 9)
        },
        Bad("options past the end", .malformed, .udp(1, 2)) { $0.extensions = [(60, [255] + option.dropFirst())] },
        Bad("SCTP", .transport, .udp(1, 2)) { $0.transport = 132 },
        Bad("nothing behind the header", .transport, .udp(1, 2)) { $0.transport = 59 },
    ]

    @Test(arguments: bad) func whatIsNotCarried(_ bad: Bad) {
        #expect(throws: bad.fault) { try IPv6Packet(bad.bytes.span.bytes) }
    }

    @Test func everyTruncationIsSeen() {
        for packet in [TestPacket.tcp(1, 2, offset: 8), .udp(1, 2, payload: [1]), .icmp(1)] {
            let bytes = packet.bytes
            for count in bytes.indices {
                #expect(throws: IPv6Packet.Fault.self) { try IPv6Packet(bytes.span.bytes.extracting(0..<count)) }
            }
        }
    }

    /// Whatever the bytes are, what is read lies within them.
    @Test(arguments: [1, 2, 3] as [UInt64]) func anyBytes(_ seed: UInt64) {
        var random = SeededRandom(seed)
        let right = [
            TestPacket.tcp(1, 2, offset: 8, payload: 30).bytes, TestPacket.udp(1, 2, payload: [1, 2, 3]).bytes,
            TestPacket.icmp(1, payload: TestPacket.udp(3, 4).bytes).bytes,
        ]
        for round in 0..<20_000 {
            var bytes = round % 4 == 0 ? random.bytes(round % 120) : right[round % 3]
            for _ in 0..<round % 5 where !bytes.isEmpty {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if round % 3 == 0, !bytes.isEmpty { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            for isExcerpt in [false, true] {
                guard let packet = try? IPv6Packet(bytes.span.bytes, isExcerpt: isExcerpt) else { continue }
                let within = isExcerpt || packet.transportOffset + packet.transportHeaderSize <= bytes.count
                #expect(within && packet.transportOffset <= bytes.count, "seed \(seed), round \(round)")
                let header = random.bytes(OffloadHeader.size)
                guard !isExcerpt, let read = try? OffloadHeader(header.span.bytes, for: packet) else { continue }
                _ = read.bytes(for: packet)
                guard read.segmentation == .udp else { continue }
                var segments = DatagramSegments(packet, size: Int(read.segmentSize))
                while segments.cut(bytes.span.bytes) != nil {}
            }
        }
    }
}
