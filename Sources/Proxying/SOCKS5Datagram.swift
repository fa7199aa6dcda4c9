// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Why a client's datagram is to be dropped. Nothing is answered (RFC 1928, 7).
public enum SOCKS5DatagramError: Error, Hashable, Sendable {
    /// It ends within its header.
    case truncated
    /// The reserved bytes are not zero.
    case reserved(UInt16)
    /// It is a part of another. RFC 1928, 7: "An implementation that does not support fragmentation MUST drop any
    /// datagram whose FRAG field is other than X'00'".
    case fragment(UInt8)
    /// There is no such destination, and why.
    case destination(String)
}

extension SOCKS5DatagramError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated: "the datagram ends within its SOCKS5 header"
        case .reserved(let value): "the reserved bytes of the SOCKS5 header are \(value), not 0"
        case .fragment(let number): "the datagram is a fragment (\(number)), which is not supported"
        case .destination(let reason): reason
        }
    }
}

/// The header in front of each datagram between a client and a SOCKS5 proxy (RFC 1928, 7).
///
///     16 bits   8 bits    8 bits        4, 16, or 1 + n bytes  16 bits
///     reserved  fragment  address type  address                port     data
public struct SOCKS5Datagram: Hashable, Sendable {
    /// Where the data is to go.
    public let destination: ProxyDestination
    /// Where in the datagram the data begins; it goes on to the datagram's end, and may be empty.
    public let dataOffset: Int

    /// The header of data that comes from an IPv6 address. One from an IPv4 address has 10 bytes.
    public static let maxHeaderSize = 22

    /// Reads the header of a client's datagram.
    public init(_ datagram: RawSpan) throws(SOCKS5DatagramError) {
        var reader = ByteReader(datagram)
        let reserved: UInt16
        let fragment: UInt8
        do throws(Truncated) {
            reserved = try reader.readUInt16()
            fragment = try reader.readUInt8()
        } catch {
            throw .truncated
        }
        guard reserved == 0 else { throw .reserved(reserved) }
        guard fragment == 0 else { throw .fragment(fragment) }
        do throws(SOCKSFault) {
            destination = try reader.socksAddress()
        } catch {
            throw SOCKS5DatagramError(error)
        }
        guard destination.port > 0 else { throw .destination("the destination has port 0") }
        dataOffset = reader.position
    }

    /// Appends the header of data that came from `source`; the data goes behind it. Allocates nothing where the buffer has
    /// room for ``maxHeaderSize`` more.
    public static func appendHeader(from source: TransportAddress, to buffer: inout [UInt8]) {
        buffer.append(0)
        buffer.append(0)
        buffer.append(0)
        buffer.append(socksAddress: source)
    }

    /// The header of data that came from where a client had sent to. A name stays one: who has looked it up is far away,
    /// and the client knows its peer by nothing else. Up to 262 bytes.
    public static func header(from source: ProxyDestination) -> [UInt8] {
        var header: [UInt8] = [0, 0, 0]
        switch source {
        case .address(let address): header.append(socksAddress: address)
        case .name(let name, let port): header.append(socksName: name, port: port)
        }
        return header
    }
}

extension SOCKS5DatagramError {
    fileprivate init(_ fault: SOCKSFault) {
        switch fault {
        case .truncated: self = .truncated
        case .refused(_, let reason): self = .destination(reason)
        }
    }
}
