// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// The header of the PROXY protocol, version 2: whose connection or datagram follows (proxy-protocol.txt, 2.2).
///
///      12 bytes   4 bits   4 bits   4 bits  4 bits     16 bits  `length` bytes
///      signature  version  command  family  transport  length   source, destination, both ports, then vectors
public enum ProxyHeader: Hashable, Sendable {
    /// LOCAL: the sender's own, as for a health check. Also what a receiver makes of a family that it can't tell of:
    /// the connection's real addresses hold.
    case local
    /// PROXY: made on behalf of `source`, who had connected to `destination`.
    case proxied(Transport, source: TransportAddress, destination: TransportAddress)

    public enum Transport: UInt8, Sendable, CaseIterable {
        case stream = 1
        case datagram = 2
    }

    static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
    /// The bytes that every header has.
    static let fixedSize = 16
    static let version: UInt8 = 2
    static let localCommand: UInt8 = 0
    static let proxyCommand: UInt8 = 1
    static let unspecified: UInt8 = 0
    static let inet: UInt8 = 1
    static let inet6: UInt8 = 2
    static let unix: UInt8 = 3
}

// MARK: - Writing

extension ProxyHeader {
    /// The header as it is sent: 16, 28 or 52 bytes, to be sent in one write before anything else.
    ///
    /// A header has one family. Addresses of two become IPv6, the IPv4 one in its IPv6 form (RFC 4291, 2.5.5.2); an
    /// IPv4 address that both gave in IPv6 form is written as the IPv4 address that it is.
    public var bytes: [UInt8] {
        var writer = ByteWriter(reserving: 52)
        writer.write(ProxyHeader.signature)
        switch self {
        case .local:
            writer.write(ProxyHeader.version << 4 | ProxyHeader.localCommand)
            writer.write(UInt8(0))
            writer.write(UInt16(0))
        case .proxied(let transport, let source, let destination):
            writer.write(ProxyHeader.version << 4 | ProxyHeader.proxyCommand)
            let addresses = (source.ip.canonical, destination.ip.canonical)
            if addresses.0.family == .v4, addresses.1.family == .v4 {
                writer.write(ProxyHeader.inet << 4 | transport.rawValue)
                writer.write(UInt16(12))
                writer.write(UInt32(truncatingIfNeeded: addresses.0.value))
                writer.write(UInt32(truncatingIfNeeded: addresses.1.value))
            } else {
                writer.write(ProxyHeader.inet6 << 4 | transport.rawValue)
                writer.write(UInt16(36))
                writer.write(addresses.0.valueAsV6)
                writer.write(addresses.1.valueAsV6)
            }
            writer.write(source.port)
            writer.write(destination.port)
        }
        return writer.bytes
    }
}

extension IPAddress {
    fileprivate var valueAsV6: UInt128 { family == .v6 ? value : 0xFFFF << 32 | value }
}
