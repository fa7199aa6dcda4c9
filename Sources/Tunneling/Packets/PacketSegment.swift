// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// One packet of a ``PacketStream``: an IPv6 header (RFC 8200, 3) with next header 253 (RFC 3692: for experiments), 24 bytes
/// of our own, then ranges or bytes. Numbers are big-endian.
///
///      0        8        16       24       32
///      +--------+--------+--------+--------+
///      | version| type   | flags  | ranges |
///      +--------+--------+--------+--------+
///      | connection                        |
///      +-----------------------------------+
///      | offset of the first byte       64 |
///      | every byte before it came      64 |
///      +-----------------------------------+
///      | ranges × (from 64, to 64)  or  bytes
public struct PacketSegment: Equatable, Sendable {
    /// What a packet is for.
    public enum Kind: UInt8, Sendable {
        case data = 1
        /// Nothing but what came: with the ranges behind the first gap.
        case acknowledgement
        /// The connection is not known, or was broken off.
        case reset
    }

    /// Bits of `flags`.
    struct Flags: OptionSet, Equatable, Sendable {
        let rawValue: UInt8
        /// No byte follows; takes one number of the stream itself.
        static let fin = Flags(rawValue: 1)
        /// The sender has made the connection and has heard nothing yet.
        static let open = Flags(rawValue: 2)
        /// The sender has made the connection.
        static let dialing = Flags(rawValue: 4)
    }

    /// The largest packet, with its IPv6 header: what every IPv6 network carries (RFC 8200, 5).
    public static let mtu = 1_280
    static let ipHeader = 40
    static let header = 24
    /// Bytes of a stream in one packet.
    static let room = mtu - ipHeader - header
    static let mostRanges = 8
    private static let version: UInt8 = 1
    private static let nextHeader: UInt8 = 253

    public var kind: Kind
    var flags: Flags
    /// A number that the side that made the connection has chosen.
    public var connection: UInt32
    var offset: UInt64
    var acknowledged: UInt64
    var ranges: [Range<UInt64>] = []

    /// Whether the sender has made the connection.
    public var isFromDialing: Bool { flags.contains(.dialing) }
    /// Whether it may be the first that is heard of the connection.
    public var mayOpen: Bool { flags.contains(.open) && kind == .data }

    /// The answer to a packet of a connection that is not known; nil where there is none.
    public var refusal: PacketSegment? {
        guard kind != .reset else { return nil }
        let flags: Flags = isFromDialing ? [] : .dialing
        return PacketSegment(kind: .reset, flags: flags, connection: connection, offset: 0, acknowledged: 0)
    }

    /// Whether a packet is one of these and not for an adapter.
    public static func isSegment(_ packet: RawSpan) -> Bool {
        guard packet.byteCount >= ipHeader else { return false }
        do throws(Truncated) {
            var reader = ByteReader(packet)
            guard try reader.readUInt32() >> 28 == 6 else { return false }
            _ = try reader.readUInt16()
            return try reader.readUInt8() == nextHeader
        } catch { return false }
    }
}

extension PacketSegment {
    /// Reads a packet. The bytes of the stream begin `count` behind its first.
    /// - Returns: nil for what is none, or comes from or goes to somebody else.
    public static func read(
        _ packet: RawSpan, from remote: IPAddress, to local: IPAddress
    ) -> (segment: PacketSegment, count: Int)? {
        do throws(Truncated) { return try PacketSegment.parse(packet, from: remote, to: local) } catch { return nil }
    }

    private static func parse(
        _ packet: RawSpan, from remote: IPAddress, to local: IPAddress
    ) throws(Truncated) -> (segment: PacketSegment, count: Int)? {
        var reader = ByteReader(packet)
        let first = try reader.readUInt32()
        let length = try reader.readUInt16()
        guard first >> 28 == 6, try reader.readUInt8() == nextHeader else { return nil }
        _ = try reader.readUInt8()
        let source = try reader.readUInt128()
        let destination = try reader.readUInt128()
        guard source == remote.value, destination == local.value, Int(length) == reader.remaining,
            try reader.readUInt8() == version, let kind = Kind(rawValue: try reader.readUInt8())
        else { return nil }
        let flags = Flags(rawValue: try reader.readUInt8())
        let count = Int(try reader.readUInt8())
        var segment = PacketSegment(
            kind: kind, flags: flags, connection: try reader.readUInt32(), offset: try reader.readUInt64(),
            acknowledged: try reader.readUInt64())
        guard count <= mostRanges, segment.offset <= UInt64.max >> 2 else { return nil }
        for _ in 0..<count {
            let (from, to) = (try reader.readUInt64(), try reader.readUInt64())
            guard from < to else { return nil }
            segment.ranges.append(from..<to)
        }
        return (segment, reader.position)
    }

    /// Appends the packet up to the bytes of the stream, of which `count` follow.
    public func write(to output: inout OutputBuffer, from local: IPAddress, to remote: IPAddress, count: Int = 0) {
        let length = PacketSegment.header + 16 * ranges.count + count
        var writer = ByteWriter(reserving: PacketSegment.ipHeader + length - count)
        writer.write(UInt32(6) << 28)
        writer.write(UInt16(clamping: length))
        writer.write(PacketSegment.nextHeader)
        writer.write(UInt8(64))
        writer.write(local.value)
        writer.write(remote.value)
        writer.write(PacketSegment.version)
        writer.write(kind.rawValue)
        writer.write(flags.rawValue)
        writer.write(UInt8(clamping: ranges.count))
        writer.write(connection)
        writer.write(offset)
        writer.write(acknowledged)
        for range in ranges {
            writer.write(range.lowerBound)
            writer.write(range.upperBound)
        }
        output.append(writer.bytes.rawSpan)
    }
}
