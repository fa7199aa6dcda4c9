// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Primitives
public import Telemetry

/// Answers DNS at an address that no node has: what programs of this host send there is answered without a socket, and so
/// without the right to a port below 1024.
public final class AdapterNames {
    /// Where it is asked, at port 53: in the prefix of transport IDs, of which none of ours begins so (the OGA ID is not 0).
    public static let address = IPAddress(v6: 0x2001_0020 << 96 | 0x53)
    static let port: UInt16 = 53

    private let answerer: NameAnswerer

    /// - Parameters:
    ///   - suffix: what nodes' names end with. All other names are asked of the servers in /etc/resolv.conf.
    public init(loop: EventLoop, suffix: String, finder: any NodeFinder, log: LogSampler) {
        let servers = NameServers()
        servers.own = [TransportAddress(AdapterNames.address, port: AdapterNames.port)]
        answerer = NameAnswerer(
            loop: loop, suffix: suffix, finder: finder, addresses: NodeAddresses(), servers: servers, mapsNodes: false,
            log: log)
    }

    /// Nothing is answered any more.
    public func close() { answerer.close() }

    /// Answers the question in a packet.
    /// - Parameter reply: called at most once, perhaps before this returns, with a packet and what is left to do to it.
    /// - Returns: false for what is no question.
    func answer(
        _ packet: IPv6Packet, _ bytes: RawSpan, _ reply: @escaping (PacketDeviceFile.Header, [UInt8]) -> Void
    ) -> Bool {
        guard packet.transport == .udp, packet.destinationPort == AdapterNames.port else { return false }
        let start = packet.transportOffset + packet.transportHeaderSize
        return answerer.answer(bytes.extracting(start..<packet.length)) { message in
            let answer = Self.packet(message, to: packet.source, port: packet.sourcePort)
            guard let answer, let read = try? IPv6Packet(answer.rawSpan) else { return }
            var header = OffloadHeader.plain
            header.checksum = (UInt16(clamping: read.transportOffset), 6)
            reply(header.bytes(for: read), answer)
        }
    }

    private static func packet(_ message: [UInt8], to host: UInt128, port: UInt16) -> [UInt8]? {
        guard let length = UInt16(exactly: 8 + message.count) else { return nil }
        var sum = InternetChecksum()
        sum.add(address.value)
        sum.add(host)
        sum.add(UInt128(length))
        sum.add(UInt128(PacketProtocol.udp.rawValue))
        var writer = ByteWriter()
        writer.write(UInt32(6) << 28)
        writer.write(length)
        writer.write(PacketProtocol.udp.rawValue)
        writer.write(UInt8(64))
        writer.write(address.value)
        writer.write(host)
        writer.write(AdapterNames.port)
        writer.write(port)
        writer.write(length)
        writer.write(~sum.value)
        writer.write(message)
        return writer.bytes
    }
}
