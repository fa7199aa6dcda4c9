// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Where a stream goes to, or comes from, as OPEN says it.
public enum TunnelAddress: Hashable, Sendable {
    case none
    case address(TransportAddress)
    case host(HostAndPort)

    /// The port, or 0 where there is none.
    public var port: UInt16 {
        switch self {
        case .none: 0
        case .address(let address): address.port
        case .host(let host): host.port
        }
    }

    private enum Kind: UInt8 { case none = 0, host = 3, v4 = 4, v6 = 6 }
    static let longestHost = 255

    func write(to writer: inout ByteWriter) {
        switch self {
        case .none: writer.write(Kind.none.rawValue)
        case .address(let address):
            writer.write(address.ip.family == .v4 ? Kind.v4.rawValue : Kind.v6.rawValue)
            writer.write(address.ip.bytes)
            writer.write(address.port)
        case .host(let host):
            writer.write(Kind.host.rawValue)
            writer.writeString16(host.host.utf8.prefix(Self.longestHost))
            writer.write(host.port)
        }
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> TunnelAddress {
        switch Kind(rawValue: try reader.readUInt8()) {
        case .some(.none): return .none
        case .v4:
            let ip = IPAddress(v4: try reader.readUInt32())
            return .address(TransportAddress(ip, port: try reader.readUInt16()))
        case .v6:
            let ip = IPAddress(v6: try reader.readUInt128())
            return .address(TransportAddress(ip, port: try reader.readUInt16()))
        case .host:
            let name = try reader.readText16(atMost: longestHost)
            return .host(HostAndPort(host: name, port: try reader.readUInt16()))
        case nil: throw InvalidField(name: "address")
        }
    }
}

/// A field of a payload has a value that it can't have.
struct InvalidField: Error, Equatable { var name: String }
