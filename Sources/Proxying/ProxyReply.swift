// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// How a request of a proxy's client went: RFC 1928, 6. The other protocols tell less, and get the nearest they have.
public enum ProxyReply: UInt8, Hashable, Sendable, CaseIterable {
    case succeeded = 0
    case generalFailure = 1
    /// The rules of the proxy forbid it.
    case notAllowed = 2
    case networkUnreachable = 3
    case hostUnreachable = 4
    case connectionRefused = 5
    /// No answer: what servers send for a connection that timed out.
    case timeToLiveExpired = 6
    case commandNotSupported = 7
    case addressTypeNotSupported = 8
}

extension ProxyReply: CustomStringConvertible {
    public var description: String {
        switch self {
        case .succeeded: "succeeded"
        case .generalFailure: "general failure"
        case .notAllowed: "not allowed by the proxy's rules"
        case .networkUnreachable: "network unreachable"
        case .hostUnreachable: "host unreachable"
        case .connectionRefused: "connection refused"
        case .timeToLiveExpired: "no answer in time"
        case .commandNotSupported: "command not supported"
        case .addressTypeNotSupported: "address type not supported"
        }
    }

    /// What HTTP calls it.
    var status: HTTPStatus {
        switch self {
        case .succeeded: .ok
        case .notAllowed: .forbidden
        case .timeToLiveExpired: .gatewayTimeout
        default: .badGateway
        }
    }
}

extension ProxyRequest {
    /// The answer in the client's protocol.
    ///
    /// After ``ProxyReply/succeeded`` the connection is the application's. After any other the connection is to be ended
    /// (RFC 1928, 6: within 10 seconds).
    /// - Parameter bound: the proxy's own address towards the destination, or for ``Command/udpAssociate`` the one that
    ///   takes the client's datagrams. All zero where it is not known; HTTP has no place for it.
    /// - Parameter text: why, in words for people. Only HTTP has a place for it.
    public func reply(_ reply: ProxyReply, boundTo bound: TransportAddress? = nil, because text: String = "") -> [UInt8]
    {
        switch `protocol` {
        case .socks4: reply.socks4(boundTo: bound)
        case .socks5: reply.socks5(boundTo: bound)
        case .http: HTTPResponse.bytes(reply.status, because: text.isEmpty ? "\(reply)" : text)
        }
    }
}

extension ProxyReply {
    private static let unknown = TransportAddress(.anyV4, port: 0)

    /// RFC 1928, 6: version, reply, reserved, address type, address, port. 10 or 22 bytes.
    public func socks5(boundTo bound: TransportAddress? = nil) -> [UInt8] {
        var bytes = [SOCKS5.version, rawValue, 0]
        bytes.reserveCapacity(22)
        bytes.append(socksAddress: bound ?? ProxyReply.unknown)
        return bytes
    }

    /// SOCKS4: zero, 90 (granted) or 91 (rejected or failed), port, IPv4 address.
    public func socks4(boundTo bound: TransportAddress? = nil) -> [UInt8] {
        var writer = ByteWriter(reserving: 8)
        let address = bound ?? ProxyReply.unknown
        let ip = address.ip.canonical.family == .v4 ? address.ip.canonical : .anyV4
        writer.write([0, self == .succeeded ? SOCKS4.granted : SOCKS4.rejected])
        writer.write(address.port)
        writer.write(ip.bytes)
        return writer.bytes
    }
}
