// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What the library in a command's process tells or asks, in one message (Sources/Interposer/agent.c), or for all of them
/// the process that has loaded programs into the kernel (Sources/KernelWay/agent.c).
///
///     version 1 │ kind 1 │ places of 16 + 2 bytes, a port of 2, a number of 4, or a name
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
    /// The connection that comes from `local` is for `to`. Answered only if it can't be made, and then it is the asker's to
    /// refuse: with the kind, an errno in a byte, `local`, and the number, which is the asker's own.
    case connection(local: TransportAddress, to: TransportAddress, number: UInt32)
    /// Opens ports for destinations of datagrams to come. Answered with the kind, 4 or 6 in a byte, and the ports.
    case stock(IPAddress.Family, count: Int)
    /// What comes to a port that was opened so is for `to`. Not answered.
    case bind(port: UInt16, to: TransportAddress)
    /// A port that was opened so is for nothing any more. Answered as a stock of this one port.
    case free(IPAddress.Family, port: UInt16)

    /// Of an answer to ``name(_:)``.
    enum NameState: UInt8 { case found, unknown, later }

    private static let version: UInt8 = 1
    private static let longestName = 300
    private static let connectionKind: UInt8 = 6
    private static let stockKind: UInt8 = 7

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
        case connectionKind:
            question = .connection(
                local: try reader.readPlace(), to: try reader.readPlace(), number: try reader.readUInt32())
        case stockKind: question = .stock(try reader.readFamily(), count: Int(try reader.readUInt8()))
        case 8: question = .bind(port: try reader.readUInt16(), to: try reader.readPlace())
        case 9: question = .free(try reader.readFamily(), port: try reader.readUInt16())
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

    static func refusal(_ errno: Int32, of local: TransportAddress, number: UInt32) -> [UInt8] {
        var writer = ByteWriter(reserving: 24)
        writer.write(connectionKind)
        writer.write(UInt8(clamping: errno))
        writer.write(local.ip.asV6.value)
        writer.write(local.port)
        writer.write(number)
        return writer.bytes
    }

    static func answer(_ ports: [UInt16], _ family: IPAddress.Family) -> [UInt8] {
        var writer = ByteWriter(reserving: 2 + 2 * ports.count)
        writer.write(stockKind)
        writer.write(UInt8(family == .v4 ? 4 : 6))
        for port in ports { writer.write(port) }
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

    @_lifetime(self: copy self)
    fileprivate mutating func readFamily() throws(Truncated) -> IPAddress.Family {
        switch try readUInt8() {
        case 4: return .v4
        case 6: return .v6
        default: throw Truncated()
        }
    }
}

extension IPAddress {
    /// An IPv4 address as `::ffff:0:0/96` has it.
    fileprivate var asV6: IPAddress { family == .v6 ? self : IPAddress(v6: 0xFFFF << 32 | value) }
}
