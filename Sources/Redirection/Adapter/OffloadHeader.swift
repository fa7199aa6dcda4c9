// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// The ten bytes before each packet of a device with IFF_VNET_HDR: struct virtio_net_hdr (VIRTIO 1.1, 5.1.6), numbers
/// little-endian. It lets a packet be larger than the MTU, to be cut into segments, or not be cut at all, by a kernel further on; and
/// its checksum be made there.
struct OffloadHeader: Equatable {
    /// How a packet that is too large is to be cut.
    enum Segmentation: UInt8 {
        case none = 0
        case tcp = 4
        case udp = 5
    }

    var segmentation = Segmentation.none
    /// TCP with explicit congestion notification: CWR belongs to the first segment alone.
    var hasECN = false
    /// Bytes of payload in each segment.
    var segmentSize: UInt16 = 0
    /// The checksum is to be made: from where on, and where it stands behind that. What stands there is the sum of the
    /// pseudo header.
    var checksum: (start: UInt16, offset: UInt16)?

    /// Nothing is left to do to the packet.
    static let plain = OffloadHeader()

    static let size = PacketDeviceFile.headerSize
    private static let needsChecksum: UInt8 = 1
    private static let ecn: UInt8 = 0x80
    /// Linux lets a peer ask for a segment of 48 bytes, of which TCP's options take up to 40 (TCP_MIN_SND_MSS).
    private static let leastTCPSegment = 8
    /// Linux makes no more datagrams of one (UDP_MAX_SEGMENTS). Either is a bound on the work that a header asks for.
    private static let mostDatagrams = 128

    static func == (a: OffloadHeader, b: OffloadHeader) -> Bool {
        a.segmentation == b.segmentation && a.hasECN == b.hasECN && a.segmentSize == b.segmentSize
            && a.checksum?.start == b.checksum?.start && a.checksum?.offset == b.checksum?.offset
    }
}

extension OffloadHeader {
    /// Why another node's header is not given to this kernel.
    enum Fault: Error { case wrong }

    /// Reads a header from another node. What it says must be right for the packet behind it; what the kernel would believe
    /// beyond that (that a checksum is right, how long the headers are) is not taken over.
    init(_ bytes: RawSpan, for packet: IPv6Packet) throws(Fault) {
        guard let fields = Fields(bytes) else { throw .wrong }
        if fields.flags & OffloadHeader.needsChecksum != 0 {
            guard let offset = packet.checksumOffset, fields.checksumOffset == offset,
                Int(fields.checksumStart) == packet.transportOffset,
                packet.transportOffset + offset + 2 <= packet.length
            else { throw .wrong }
            checksum = (fields.checksumStart, fields.checksumOffset)
        }
        guard let kind = Segmentation(rawValue: fields.kind & ~OffloadHeader.ecn) else { throw .wrong }
        segmentation = kind
        hasECN = fields.kind & OffloadHeader.ecn != 0
        guard kind != .none else {
            if hasECN { throw .wrong }
            return
        }
        segmentSize = fields.segmentSize
        let payload = packet.length - packet.transportOffset - packet.transportHeaderSize
        let fits =
            switch kind {
            case .none: true
            case .tcp: packet.transport == .tcp && segmentSize >= OffloadHeader.leastTCPSegment
            case .udp:
                packet.transport == .udp && !hasECN && segmentSize > 0
                    && payload <= OffloadHeader.mostDatagrams * Int(segmentSize)
            }
        guard checksum != nil, fits else { throw .wrong }
    }

    /// The header as the kernel reads it, for a packet that it was checked with.
    func bytes(for packet: IPv6Packet) -> PacketDeviceFile.Header {
        var bytes = PacketDeviceFile.Header(repeating: 0)
        bytes[1] = segmentation.rawValue | (hasECN ? OffloadHeader.ecn : 0)
        func set(_ value: UInt16, at index: Int) {
            bytes[index] = UInt8(truncatingIfNeeded: value)
            bytes[index + 1] = UInt8(truncatingIfNeeded: value >> 8)
        }
        if segmentation != .none {
            set(UInt16(clamping: packet.transportOffset + packet.transportHeaderSize), at: 2)
            set(segmentSize, at: 4)
        }
        if let checksum {
            bytes[0] = OffloadHeader.needsChecksum
            set(checksum.start, at: 6)
            set(checksum.offset, at: 8)
        }
        return bytes
    }

    private struct Fields {
        let flags: UInt8
        let kind: UInt8
        let segmentSize: UInt16
        let checksumStart: UInt16
        let checksumOffset: UInt16

        init?(_ bytes: RawSpan) {
            var reader = ByteReader(bytes)
            do throws(Truncated) {
                flags = try reader.readUInt8()
                kind = try reader.readUInt8()
                _ = try reader.readUInt16()
                segmentSize = try reader.readUInt16().byteSwapped
                checksumStart = try reader.readUInt16().byteSwapped
                checksumOffset = try reader.readUInt16().byteSwapped
            } catch { return nil }
        }
    }
}

extension IPv6Packet {
    /// Where the transport's checksum stands in its header.
    fileprivate var checksumOffset: Int? {
        switch transport {
        case .tcp: 16
        case .udp: 6
        case .icmp: 2
        }
    }
}
