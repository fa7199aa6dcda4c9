// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The datagrams that a large one stands for, for a kernel that does not cut it itself (Linux before 6.2). Large TCP
/// packets every kernel takes that has devices with offload headers.
struct DatagramSegments {
    private let packet: IPv6Packet
    private let size: Int
    /// Where the payload of the next begins.
    private var next: Int

    /// - Parameter size: bytes of payload in each but the last, at least 1.
    init(_ packet: IPv6Packet, size: Int) {
        self.packet = packet
        self.size = size
        next = packet.transportOffset + packet.transportHeaderSize
    }

    /// What is left to do to each: its checksum, of which the pseudo header's sum is there.
    var header: OffloadHeader {
        var header = OffloadHeader.plain
        header.checksum = (UInt16(clamping: packet.transportOffset), 6)
        return header
    }

    /// The next datagram as a packet of its own; nil after the last.
    /// - Parameter bytes: the large one.
    mutating func cut(_ bytes: RawSpan) -> [UInt8]? {
        guard next < packet.length, packet.length == bytes.byteCount else { return nil }
        let end = min(next + size, packet.length)
        let transport = packet.transportOffset
        let length = UInt16(clamping: packet.transportHeaderSize + end - next)
        var cut: [UInt8] = []
        cut.reserveCapacity(transport + Int(length))
        cut.append(copying: bytes.extracting(0..<transport + packet.transportHeaderSize))
        cut.append(copying: bytes.extracting(next..<end))
        next = end
        set(UInt16(clamping: transport - IPv6Packet.headerSize + Int(length)), at: 4, in: &cut)
        set(length, at: transport + 4, in: &cut)
        // RFC 8200, 8.1: the pseudo header, not complemented, which the kernel goes on from.
        var sum = InternetChecksum()
        sum.add(packet.source)
        sum.add(packet.destination)
        sum.add(UInt128(length))
        sum.add(UInt128(packet.transport.rawValue))
        set(~sum.value, at: transport + 6, in: &cut)
        return cut
    }

    private func set(_ value: UInt16, at index: Int, in bytes: inout [UInt8]) {
        bytes[index] = UInt8(truncatingIfNeeded: value >> 8)
        bytes[index + 1] = UInt8(truncatingIfNeeded: value)
    }
}
