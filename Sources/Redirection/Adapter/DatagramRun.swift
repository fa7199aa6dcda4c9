// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Datagrams of one flow that came one after the other and can pass as one large packet, which the other node's kernel cuts
/// into the same datagrams again (UDP segmentation offload): the device gives them one at a time, and everything behind it
/// costs as much for fifty as for one.
struct DatagramRun: ~Copyable {
    /// The first as it came, while it is the only one.
    private var only: Slice?
    /// All of them as one, from the second on.
    private var joined: Slice?
    private var end = 0
    private var count = 0
    private var first: IPv6Packet?
    private var segmentSize = 0
    /// Nothing may follow a shorter one.
    private var isEnded = false

    /// Linux made no more of one before 6.11 (UDP_MAX_SEGMENTS).
    private static let most = 64
    private static let longest = 65_000
    private static let headers = OffloadHeader.size + IPv6Packet.headerSize + 8

    var isEmpty: Bool { count == 0 }
    /// Where the run goes.
    var packet: IPv6Packet? { first }

    /// Whether a packet can be one of a run: a plain datagram whose checksum is still to be made.
    static func takes(_ packet: IPv6Packet, _ frame: RawSpan) -> Bool {
        guard packet.transport == .udp, packet.transportOffset == IPv6Packet.headerSize,
            packet.length > IPv6Packet.headerSize + 8, packet.length <= Adapter.mtu,
            let header = try? OffloadHeader(frame.extracting(0..<OffloadHeader.size), for: packet)
        else { return false }
        return header.segmentation == .none && header.checksum != nil
    }

    /// Begins a run; there must be none.
    mutating func begin(_ frame: consuming Slice, _ packet: IPv6Packet) {
        first = packet
        segmentSize = packet.length - IPv6Packet.headerSize - 8
        isEnded = false
        count = 1
        end = frame.count
        only = consume frame
    }

    /// Adds a packet that ``takes(_:_:)`` has agreed to, where it continues the run.
    mutating func append(_ frame: RawSpan, _ packet: IPv6Packet, from pool: BufferPool) -> Bool {
        let payload = packet.length - IPv6Packet.headerSize - 8
        guard let first, !isEnded, count < DatagramRun.most, payload <= segmentSize,
            end + payload <= DatagramRun.longest, packet.sourcePort == first.sourcePort,
            packet.destinationPort == first.destinationPort, packet.source == first.source,
            packet.destination == first.destination, join(frame, from: pool)
        else { return false }
        joined?.overwrite(at: end, with: frame.extracting(DatagramRun.headers..<frame.byteCount))
        end += payload
        count += 1
        isEnded = payload < segmentSize
        return true
    }

    /// Moves the first into a buffer of its own, where it has none yet, and sees whether the packet's first words (class,
    /// flow label) and hop limit are the run's.
    private mutating func join(_ frame: RawSpan, from pool: BufferPool) -> Bool {
        if let frame = only.take() {
            var room = pool.lease()
            room.overwrite(at: 0, with: frame.bytes)
            joined = consume room
        }
        guard let bytes = joined?.bytes else { return false }
        let version = OffloadHeader.size..<OffloadHeader.size + 4
        let hops = OffloadHeader.size + 7..<OffloadHeader.size + 8
        return bytes.extracting(version).isSame(as: frame.extracting(version))
            && bytes.extracting(hops).isSame(as: frame.extracting(hops))
    }

    /// Ends the run.
    /// - Returns: one frame for all of it; nil where there was none.
    mutating func take() -> Slice? {
        count = 0
        first = nil
        if let frame = only.take() { return frame }
        guard var frame = joined.take() else { return nil }
        frame.truncate(to: end)
        finish(&frame)
        return frame
    }

    /// Writes what holds for all of it into the headers: lengths, the sum of the pseudo header, and how it is to be cut.
    private func finish(_ frame: inout Slice) {
        let length = UInt16(clamping: end - OffloadHeader.size - IPv6Packet.headerSize)
        let ip = OffloadHeader.size
        let udp = ip + IPv6Packet.headerSize
        var sum = UInt32(frame.word(at: udp + 6)) + UInt32(length) + UInt32(~UInt16(clamping: segmentSize + 8))
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        frame.set(length, at: ip + 4)
        frame.set(length, at: udp + 4)
        frame.set(UInt16(truncatingIfNeeded: sum), at: udp + 6)
        // Numbers of the offload header are little-endian: kind, length of the headers, size of the segments.
        withSpan(of: OffloadHeader.Segmentation.udp.rawValue) { frame.overwrite(at: 1, with: $0) }
        frame.set(UInt16(IPv6Packet.headerSize + 8).byteSwapped, at: 2)
        frame.set(UInt16(clamping: segmentSize).byteSwapped, at: 4)
    }
}

extension Slice {
    /// A big-endian word; 0 past the end.
    fileprivate func word(at index: Int) -> UInt16 {
        var reader = ByteReader(bytes.extracting(index..<count))
        return (try? reader.readUInt16()) ?? 0
    }

    fileprivate mutating func set(_ word: UInt16, at index: Int) {
        withSpan(of: word.bigEndian) { overwrite(at: index, with: $0) }
    }
}

extension RawSpan {
    /// Whether both have the same few bytes.
    fileprivate func isSame(as other: RawSpan) -> Bool {
        var (mine, theirs) = (ByteReader(self), ByteReader(other))
        while let byte = try? mine.readUInt8() {
            guard let next = try? theirs.readUInt8(), next == byte else { return false }
        }
        return theirs.isAtEnd
    }
}
