// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import Testing

@testable import Redirection

@Suite struct OffloadHeaderTests {
    /// flags, kind, length of headers, size of segments, start of the checksum, offset of it.
    private static func header(
        _ flags: UInt8, _ kind: UInt8, _ segment: UInt16 = 0, start: UInt16 = 0, offset: UInt16 = 0, headers: UInt16 = 0
    ) -> [UInt8] {
        [flags, kind]
            + [headers, segment, start, offset].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    }

    private static let tcp = TestPacket.tcp(1, 2, payload: 5_000)
    private static let udp = TestPacket.udp(1, 2, payload: [UInt8](repeating: 1, count: 3_000))

    @Test func whatIsRightPasses() throws {
        for (packet, bytes) in [
            (Self.tcp, Self.header(0, 0)), (Self.tcp, Self.header(1, 0, start: 40, offset: 16)),
            (Self.tcp, Self.header(1, 4, 1_220, start: 40, offset: 16, headers: 60)),
            (Self.tcp, Self.header(1, 0x84, 1_220, start: 40, offset: 16, headers: 60)),
            (Self.udp, Self.header(1, 0, start: 40, offset: 6)),
            (Self.udp, Self.header(1, 5, 1_200, start: 40, offset: 6, headers: 48)),
            (.icmp(128), Self.header(1, 0, start: 40, offset: 2)),
        ] {
            let parsed = try packet.parsed()
            #expect(try rewritten(bytes, for: parsed) == bytes)
        }
    }

    /// The kernel would take these for its own knowledge.
    @Test func whatThePeerCannotKnowIsNotTakenOver() throws {
        let parsed = try Self.tcp.parsed()
        // A checksum that is right already, and headers of a million bytes.
        for bytes in [Self.header(2, 0), Self.header(0, 0, headers: .max)] {
            #expect(try rewritten(bytes, for: parsed) == [UInt8](repeating: 0, count: OffloadHeader.size))
        }
        let large = Self.header(1, 4, 1_220, start: 40, offset: 16, headers: 9)
        let written = try rewritten(large, for: parsed)
        #expect(written[2] == 60 && written[3] == 0)
    }

    struct Wrong: CustomTestStringConvertible {
        let testDescription: String
        let packet: TestPacket
        let bytes: [UInt8]
        init(_ name: String, _ packet: TestPacket, _ bytes: [UInt8]) {
            testDescription = name
            self.packet = packet
            self.bytes = bytes
        }
    }

    static let wrong = [
        Wrong("too short", tcp, [0, 0, 0]),
        Wrong("TCP over IPv4", tcp, header(1, 1, 1_220, start: 40, offset: 16)),
        Wrong("fragments of UDP", udp, header(1, 3, 1_220, start: 40, offset: 6)),
        Wrong("an unknown kind", tcp, header(1, 9, 1_220, start: 40, offset: 16)),
        Wrong("TCP, but it is UDP", udp, header(1, 4, 1_220, start: 40, offset: 6)),
        Wrong("UDP, but it is TCP", tcp, header(1, 5, 1_220, start: 40, offset: 16)),
        Wrong("segments of ICMPv6", .icmp(128), header(1, 4, 1_220, start: 40, offset: 2)),
        Wrong("segments of nothing", tcp, header(1, 4, 0, start: 40, offset: 16)),
        Wrong("segments of a byte", tcp, header(1, 4, 1, start: 40, offset: 16)),
        Wrong("three thousand datagrams", udp, header(1, 5, 1, start: 40, offset: 6)),
        Wrong("segments without a checksum", tcp, header(0, 4, 1_220, start: 40, offset: 16)),
        Wrong("ECN without segments", tcp, header(1, 0x80, start: 40, offset: 16)),
        Wrong("ECN of UDP", udp, header(1, 0x85, 1_200, start: 40, offset: 6)),
        Wrong("a checksum in the header of IPv6", tcp, header(1, 0, start: 0, offset: 16)),
        Wrong("a checksum in the payload", tcp, header(1, 0, start: 40, offset: 60)),
        Wrong("a checksum past the end", tcp, header(1, 0, start: 40, offset: .max)),
        Wrong("a checksum that begins past the end", tcp, header(1, 0, start: .max, offset: 16)),
        Wrong("UDP's checksum in TCP", tcp, header(1, 0, start: 40, offset: 6)),
    ]

    @Test(arguments: wrong) func whatIsWrongIsRefused(_ wrong: Wrong) throws {
        let parsed = try wrong.packet.parsed()
        #expect(throws: OffloadHeader.Fault.self) { try OffloadHeader(wrong.bytes.span.bytes, for: parsed) }
    }

    /// What a kernel without USO gets: whole datagrams, of which nothing is missing and nothing comes twice.
    @Test func largeDatagramsAreCut() throws {
        let payload = (0..<3_001).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let large = TestPacket.udp(1_000, 53, payload: payload)
        let bytes = large.bytes
        var segments = DatagramSegments(try large.parsed(), size: 1_000)
        let header = segments.header
        var seen: [UInt8] = []
        var sizes: [Int] = []
        while let cut = segments.cut(bytes.span.bytes) {
            let packet = try IPv6Packet(cut.span.bytes)
            #expect(packet.sourcePort == 1_000 && packet.destinationPort == 53)
            #expect(cut[44...45] == TestPacket.words(UInt16(cut.count - 40))[...])
            #expect(isSummed(cut))
            #expect(throws: Never.self) { try rewritten(whole(header.bytes(for: packet)), for: packet) }
            seen += cut[48...]
            sizes.append(cut.count - 48)
        }
        #expect(seen == payload && sizes == [1_000, 1_000, 1_000, 1])
    }

    /// A datagram as a device gives it: its checksum is still to be made.
    private func frame(_ packet: TestPacket) -> [UInt8] {
        var bytes = packet.bytes
        var sum = InternetChecksum()
        sum.add(bytes.span.bytes.extracting(8..<40))
        sum.add(UInt128(bytes.count - 40))
        sum.add(UInt128(17))
        bytes.replaceSubrange(46...47, with: TestPacket.words(~sum.value))
        return Self.header(1, 0, start: 40, offset: 6) + bytes
    }

    /// Datagrams of one flow go as one, and come apart as they were.
    @Test func datagramsAreJoinedAndCutAgain() throws {
        let pool = BufferPool(capacity: 65_536, keepsAtMost: 4)
        for (sizes, runs) in [
            ([900, 900, 900], 1), ([900, 900, 17], 1), ([900, 17, 900], 2), ([17, 900], 2), ([5], 1),
            (Array(repeating: 1_200, count: 100), 2), (Array(repeating: 3, count: 64), 1),
        ] {
            let frames = sizes.enumerated().map { index, size in
                frame(.udp(1, 2, payload: [UInt8](repeating: UInt8(index), count: size)))
            }
            var run = DatagramRun()
            var sent: [[UInt8]] = []
            for frame in frames {
                let packet = try IPv6Packet(frame.span.bytes.extracting(10..<frame.count))
                let isTaken = DatagramRun.takes(packet, frame.span.bytes)
                #expect(isTaken)
                if !run.isEmpty, run.append(frame.span.bytes, packet, from: pool) { continue }
                if !run.isEmpty { sent.append(taken(&run)) }
                run.begin(pool.lease(copying: frame.span.bytes), packet)
            }
            sent.append(taken(&run))
            #expect(sent.count == runs, "\(sizes)")
            #expect(try sent.flatMap(apart) == frames.map { Array($0[10...]) }, "\(sizes)")
        }
        #expect(pool.leased == 0)
    }

    private func taken(_ run: inout DatagramRun) -> [UInt8] {
        guard let frame = run.take() else { return [] }
        return frame.bytes.withUnsafeBytes { Array($0) }
    }

    /// The datagrams that a frame stands for.
    private func apart(_ frame: [UInt8]) throws -> [[UInt8]] {
        let bytes = Array(frame[10...])
        let packet = try IPv6Packet(bytes.span.bytes)
        let header = try OffloadHeader(frame.span.bytes.extracting(0..<10), for: packet)
        #expect(isSummed(bytes))
        guard header.segmentation == .udp else { return [bytes] }
        var segments = DatagramSegments(packet, size: Int(header.segmentSize))
        var all: [[UInt8]] = []
        while let cut = segments.cut(bytes.span.bytes) { all.append(cut) }
        return all
    }

    @Test func otherFlowsAreNotJoined() throws {
        let pool = BufferPool(capacity: 65_536, keepsAtMost: 4)
        let first = frame(.udp(1, 2, payload: [1, 2, 3]))
        var hops = first
        hops[17] = 3
        var label = first
        label[13] = 9
        for other in [
            frame(.udp(1, 3, payload: [1, 2, 3])), frame(.udp(3, 2, payload: [1, 2, 3])), hops, label,
            frame(TestPacket.udp(1, 2, payload: [1, 2, 3]).from(TestPacket.here, to: TestPacket.elsewhere)),
        ] {
            var run = DatagramRun()
            run.begin(
                pool.lease(copying: first.span.bytes), try IPv6Packet(first.span.bytes.extracting(10..<first.count)))
            let packet = try IPv6Packet(other.span.bytes.extracting(10..<other.count))
            let isJoined = run.append(other.span.bytes, packet, from: pool)
            #expect(!isJoined)
            #expect(try apart(taken(&run)) == [Array(first[10...])])
        }
        // What is whole already, or large, or no datagram, is none of a run.
        for wrong in [Self.header(0, 0) + first[10...], Self.header(1, 0, start: 40, offset: 16) + Self.tcp.bytes] {
            let packet = try IPv6Packet(wrong.span.bytes.extracting(10..<wrong.count))
            let isTaken = DatagramRun.takes(packet, wrong.span.bytes)
            #expect(!isTaken)
        }
    }

    /// Whether the checksum field holds the pseudo header's sum alone, as the kernel expects it.
    private func isSummed(_ packet: [UInt8]) -> Bool {
        var sum = InternetChecksum()
        sum.add(packet.span.bytes.extracting(8..<40))
        sum.add(UInt128(packet.count - 40))
        sum.add(UInt128(17))
        return TestPacket.words(~sum.value) == Array(packet[46...47])
    }

    /// What the kernel is given for a header from another node.
    private func rewritten(_ bytes: [UInt8], for packet: IPv6Packet) throws -> [UInt8] {
        whole(try OffloadHeader(bytes.span.bytes, for: packet).bytes(for: packet))
    }

    private func whole(_ header: PacketDeviceFile.Header) -> [UInt8] { withUnsafeBytes(of: header) { Array($0) } }
}
