// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What the library in a command's process tells or asks, in one message (Sources/Interposer/agent.c).
///
///     version 1 │ kind 1 │ places of 16 + 2 bytes, a port of 2, or a name
enum RunQuestion: Equatable {
    /// The connection that comes from `local` is for `to`. Not answered.
    case announce(local: TransportAddress, to: TransportAddress)
    /// Why the last connection from there failed. Answered with an errno in a byte; 0 for none.
    case verdict(local: TransportAddress)
    /// What a socket is connected to; with the agent's port, for a UDP socket, else 0. Answered with a place, or nothing.
    case peer(local: TransportAddress, target: UInt16)
    /// Where datagrams for `to` are to be sent. Answered with an errno in a byte, and a port.
    case flow(local: TransportAddress, to: TransportAddress)
    /// Answered with a state in a byte, 16 bytes of IPv6 and 4 of IPv4.
    case name(String)

    /// Of an answer to ``name(_:)``.
    enum NameState: UInt8 { case found, unknown, later }

    private static let version: UInt8 = 1
    private static let longestName = 300

    /// Nil for what is none of these.
    init?(_ message: RawSpan) {
        var reader = ByteReader(message)
        guard let question = try? RunQuestion.read(&reader) else { return nil }
        self = question
    }

    private static func read(_ reader: inout ByteReader) throws(Truncated) -> RunQuestion {
        guard try reader.readUInt8() == version else { throw Truncated() }
        let question: RunQuestion
        switch try reader.readUInt8() {
        case 1: question = .announce(local: try reader.readPlace(), to: try reader.readPlace())
        case 2: question = .verdict(local: try reader.readPlace())
        case 3: question = .peer(local: try reader.readPlace(), target: try reader.readUInt16())
        case 4: question = .flow(local: try reader.readPlace(), to: try reader.readPlace())
        case 5:
            guard reader.remaining <= longestName else { throw Truncated() }
            let bytes = try reader.readBytes(reader.remaining)
            guard let name = String(validating: bytes, as: UTF8.self) else { throw Truncated() }
            question = .name(name)
        default: throw Truncated()
        }
        guard reader.isAtEnd else { throw Truncated() }
        return question
    }

    // MARK: Answers

    static func answer(_ errno: Int32) -> [UInt8] { [UInt8(clamping: errno)] }

    static func answer(_ place: TransportAddress) -> [UInt8] {
        var writer = ByteWriter(reserving: 18)
        writer.write(place.ip.asV6.value)
        writer.write(place.port)
        return writer.bytes
    }

    static func answer(_ errno: Int32, target: UInt16) -> [UInt8] {
        var writer = ByteWriter(reserving: 3)
        writer.write(UInt8(clamping: errno))
        writer.write(target)
        return writer.bytes
    }

    static func answer(_ state: NameState, v6: IPAddress = .anyV6, v4: IPAddress = .anyV4) -> [UInt8] {
        var writer = ByteWriter(reserving: 21)
        writer.write(state.rawValue)
        writer.write(v6.value)
        writer.write(UInt32(truncatingIfNeeded: v4.value))
        return writer.bytes
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readPlace() throws(Truncated) -> TransportAddress {
        let ip = IPAddress(v6: try readUInt128()).canonical
        return TransportAddress(ip, port: try readUInt16())
    }
}

extension IPAddress {
    /// An IPv4 address as `::ffff:0:0/96` has it.
    fileprivate var asV6: IPAddress { family == .v6 ? self : IPAddress(v6: 0xFFFF << 32 | value) }
}
