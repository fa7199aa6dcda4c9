// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The protocols that an adapter knows, by their numbers in IPv6's next header.
enum PacketProtocol: UInt8 {
    case tcp = 6
    case udp = 17
    case icmp = 58
}

/// What of an IPv6 packet (RFC 8200) decides about its way. Nothing of its payload is looked at.
struct IPv6Packet: Equatable {
    var source: UInt128
    var destination: UInt128
    var transport: PacketProtocol
    /// Where the transport's header begins.
    var transportOffset: Int
    /// The whole of it, in bytes, as its own header says.
    var length: Int
    /// The transport's ports, in that order; of an ICMPv6 message type and code, and the identifier of an echo.
    var sourcePort: UInt16 = 0
    var destinationPort: UInt16 = 0
    var tcpFlags = TCPFlags(rawValue: 0)
    /// Bytes of the transport's header: TCP's as it says, 8 of the others.
    var transportHeaderSize = 8
    /// ICMPv6: its type, and what an echo is called by.
    var icmpType: UInt8 = 0
    var icmpIdentifier: UInt16 = 0

    static let headerSize = 40
    /// Headers between IPv6's own and the transport's that are read through. Nobody needs more.
    private static let mostHeaders = 8

    /// Why a packet is none that an adapter carries.
    enum Fault: Error, Equatable {
        case notIPv6
        /// It is shorter, or longer, than it says.
        case malformed
        /// A part of a packet: the device's MTU makes them needless, and a part says nothing of ports.
        case fragment
        /// Neither TCP, UDP nor ICMPv6, or behind headers that lead elsewhere.
        case transport
    }

    /// Reads a packet's headers.
    /// - Parameter isExcerpt: whether the packet may be longer than what is there, as in an ICMPv6 error.
    init(_ bytes: RawSpan, isExcerpt: Bool = false) throws(Fault) {
        do {
            var reader = ByteReader(bytes)
            let first = try reader.readUInt32()
            guard first >> 28 == 6 else { throw Fault.notIPv6 }
            length = Int(try reader.readUInt16()) + IPv6Packet.headerSize
            let next = try reader.readUInt8()
            _ = try reader.readUInt8()
            source = try reader.readUInt128()
            destination = try reader.readUInt128()
            guard length == bytes.byteCount || isExcerpt && length > bytes.byteCount else { throw Fault.malformed }
            transport = try IPv6Packet.skipHeaders(next, &reader)
            transportOffset = reader.position
            try readTransport(&reader, isExcerpt: isExcerpt)
        } catch let fault as Fault { throw fault } catch { throw .malformed }
    }

    /// Reads through the headers before the transport's.
    @_lifetime(reader: copy reader)
    private static func skipHeaders(_ first: UInt8, _ reader: inout ByteReader) throws -> PacketProtocol {
        var next = first
        for position in 0..<mostHeaders {
            if let transport = PacketProtocol(rawValue: next) { return transport }
            switch next {
            // Options for every hop, which stand first only, and options for the destination (RFC 8200, 4.1).
            case 0 where position == 0, 60:
                next = try reader.readUInt8()
                _ = try reader.readSpan(Int(try reader.readUInt8()) * 8 + 6)
            case 44: throw Fault.fragment
            default: throw Fault.transport
            }
        }
        throw Fault.transport
    }

    @_lifetime(reader: copy reader)
    private mutating func readTransport(_ reader: inout ByteReader, isExcerpt: Bool) throws {
        switch transport {
        case .tcp: try readTCP(&reader, isExcerpt: isExcerpt)
        case .udp:
            sourcePort = try reader.readUInt16()
            destinationPort = try reader.readUInt16()
            _ = try reader.readUInt32()
        case .icmp:
            icmpType = try reader.readUInt8()
            _ = try reader.readSpan(3)
            icmpIdentifier = try reader.readUInt16()
            _ = try reader.readUInt16()
        }
    }

    @_lifetime(reader: copy reader)
    private mutating func readTCP(_ reader: inout ByteReader, isExcerpt: Bool) throws {
        sourcePort = try reader.readUInt16()
        destinationPort = try reader.readUInt16()
        // RFC 4443, 3.1: an error holds as much of the packet as fits, which the ports always do.
        if isExcerpt, reader.remaining < 16 { return }
        _ = try reader.readUInt64()
        transportHeaderSize = Int(try reader.readUInt8() >> 4) * 4
        tcpFlags = TCPFlags(rawValue: try reader.readUInt8())
        guard isExcerpt || transportHeaderSize >= 20 && transportOffset + transportHeaderSize <= length else {
            throw Fault.malformed
        }
    }
}

/// The flags of a TCP segment (RFC 9293, 3.1).
struct TCPFlags: OptionSet {
    let rawValue: UInt8

    static let fin = TCPFlags(rawValue: 0x01)
    static let syn = TCPFlags(rawValue: 0x02)
    static let rst = TCPFlags(rawValue: 0x04)
    static let ack = TCPFlags(rawValue: 0x10)

    /// The first segment of a connection.
    var opens: Bool { contains(.syn) && !contains(.ack) }
    /// The last of one direction, or of both.
    var ends: Bool { !isDisjoint(with: [.fin, .rst]) }
}

/// The messages of ICMPv6 (RFC 4443) that mean something here.
enum ICMPv6 {
    static let echoRequest: UInt8 = 128
    static let echoReply: UInt8 = 129
    static let destinationUnreachable: UInt8 = 1
    /// Destination unreachable, packet too big, time exceeded, parameter problem.
    static let errors: ClosedRange<UInt8> = 1...4
    /// Bytes before the packet that an error is about.
    static let errorHeaderSize = 8
}
