// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import Primitives

/// An ICMPv6 message that tells a sender why its packet goes no further (RFC 4443, 3.1), so that connect(2) fails at once.
struct UnreachableMessage {
    /// RFC 4443, 3.1.
    enum Code: UInt8 {
        /// ENETUNREACH to an application.
        case noRoute = 0
        /// EACCES.
        case prohibited = 1
        /// EHOSTUNREACH.
        case address = 3
    }

    /// The whole packet.
    let bytes: [UInt8]

    /// The longest that fits every path (RFC 4443, 2.4 c).
    private static let longest = 1_280
    private static let hopLimit: UInt8 = 64

    /// Nil where the packet may not be answered so: it is an error itself (RFC 4443, 2.4 e).
    /// - Parameters:
    ///   - source: who says it.
    ///   - original: the packet, which may be as long as it likes.
    init?(_ code: Code, from source: UInt128, about packet: IPv6Packet, _ original: RawSpan) {
        if packet.transport == .icmp, packet.icmpType < ICMPv6.echoRequest { return nil }
        let room = UnreachableMessage.longest - IPv6Packet.headerSize - ICMPv6.errorHeaderSize
        let excerpt = original.extracting(0..<min(original.byteCount, room))
        var message = ByteWriter()
        message.write(ICMPv6.destinationUnreachable)
        message.write(code.rawValue)
        message.write(UInt16(0))
        message.write(UInt32(0))
        message.write(excerpt)
        var sum = InternetChecksum()
        sum.add(source)
        sum.add(packet.source)
        sum.add(UInt128(message.count))
        sum.add(UInt128(PacketProtocol.icmp.rawValue))
        sum.add(message.bytes.rawSpan)
        var body = message.bytes
        body[2] = UInt8(truncatingIfNeeded: sum.value >> 8)
        body[3] = UInt8(truncatingIfNeeded: sum.value)
        var header = ByteWriter()
        header.write(UInt32(6) << 28)
        header.write(UInt16(clamping: body.count))
        header.write(PacketProtocol.icmp.rawValue)
        header.write(UnreachableMessage.hopLimit)
        header.write(source)
        header.write(packet.source)
        bytes = header.bytes + body
    }
}

/// What another node is told of a packet that nobody here takes.
public enum PacketRefusal {
    /// The packet to send back: its program may not send it (EACCES). Nil where it may not be answered.
    /// - Parameters:
    ///   - packet: what has come, from whom it says.
    ///   - node: who has brought it; what is another's is not answered.
    ///   - own: this node's transport ID.
    public static func answer(to packet: RawSpan, of node: IPAddress, from own: IPAddress) -> [UInt8]? {
        guard let read = try? IPv6Packet(packet), read.source == node.value, read.destination == own.value else {
            return nil
        }
        return UnreachableMessage(.prohibited, from: own.value, about: read, packet)?.bytes
    }
}

extension UnreachableMessage.Code {
    /// What a failure to reach a node is to an application.
    init(_ code: EndpointResetCode) {
        switch code {
        case .unreachable, .timedOut, .refused, .reset: self = .address
        default: self = .noRoute
        }
    }
}

/// The sum of RFC 1071, for messages that are made here.
struct InternetChecksum {
    private var sum: UInt64 = 0

    /// Adds 16 bytes of a header.
    mutating func add(_ words: UInt128) {
        for shift in stride(from: UInt128(0), to: 128, by: 16) {
            sum &+= UInt64(truncatingIfNeeded: words >> shift) & 0xFFFF
        }
    }

    /// Adds bytes, from an even place on.
    mutating func add(_ bytes: RawSpan) {
        var reader = ByteReader(bytes)
        while let word = try? reader.readUInt16() { sum &+= UInt64(word) }
        if let last = try? reader.readUInt8() { sum &+= UInt64(last) << 8 }
    }

    /// What the header is to hold.
    var value: UInt16 {
        var folded = sum
        while folded > 0xFFFF { folded = folded & 0xFFFF + folded >> 16 }
        return ~UInt16(truncatingIfNeeded: folded)
    }
}
