// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What a client of a proxy speaks.
public enum ProxyProtocol: Hashable, Sendable {
    /// SOCKS4 and its extension 4a, which has names.
    case socks4
    /// RFC 1928.
    case socks5
    /// The CONNECT method (RFC 9110, 9.3.6) in HTTP/1.1 (RFC 9112).
    case http
}

/// Where a client of a proxy wants to go: an address, or a name that somebody else has to look up.
public enum ProxyDestination: Hashable, Sendable {
    case address(TransportAddress)
    /// A name as the client wrote it: neither lower-cased nor held against the rules of the DNS. System resolvers take
    /// some of them for addresses in an old form (127.1, 0x7f000001), so what the name is resolved to has to be judged.
    case name(String, port: UInt16)

    /// A host in the notation of an address is that address, so that whoever judges addresses sees it as one.
    public init(host: String, port: UInt16) {
        if let ip = IPAddress(host) {
            self = .address(TransportAddress(ip, port: port))
        } else {
            self = .name(host, port: port)
        }
    }

    public init(_ named: HostAndPort) { self.init(host: named.host, port: named.port) }

    public var port: UInt16 {
        switch self {
        case .address(let address): address.port
        case .name(_, let port): port
        }
    }

    /// The same as resolvers and people take it.
    public var hostAndPort: HostAndPort {
        switch self {
        case .address(let address): HostAndPort(host: "\(address.ip)", port: address.port)
        case .name(let name, let port): HostAndPort(host: name, port: port)
        }
    }
}

extension ProxyDestination: CustomStringConvertible {
    public var description: String { hostAndPort.description }
}

/// What a client asked of a proxy. It waits for ``reply(_:boundTo:because:)``, and what it sends is for the destination.
public struct ProxyRequest: Hashable, Sendable {
    /// What is to be done (RFC 1928, 4). BIND is none of it.
    public enum Command: Hashable, Sendable {
        /// A TCP connection to the destination.
        case connect
        /// Datagrams in both directions. The destination is where the client will send from, as far as it knows: zero
        /// where it does not (RFC 1928, 4), and not to be trusted.
        case udpAssociate
    }

    public var `protocol`: ProxyProtocol
    public var command: Command
    public var destination: ProxyDestination
    /// What the client presented, which was found right where the reader had some to hold it against. A client may also
    /// present some that nobody asked for.
    public var credentials: ProxyCredentials?

    public init(
        _ protocol: ProxyProtocol, _ command: Command, to destination: ProxyDestination,
        credentials: ProxyCredentials? = nil
    ) {
        self.protocol = `protocol`
        self.command = command
        self.destination = destination
        self.credentials = credentials
    }
}

/// What the bytes of a client came to.
public enum ProxyEvent: Hashable, Sendable {
    /// Nothing before there are more bytes.
    case needMore
    /// These bytes are to be written, and then the reader is to be asked again.
    case reply([UInt8])
    /// The client has said what it wants, and waits. The reader is done: what else it was fed is the application's, see
    /// ``ProxyRequestReader/takeLeftover()``.
    case request(ProxyRequest)
    /// The client can't be served. The reply is to be written where it isn't empty, and the connection ended. The reason
    /// is for the log; it holds no secret and nothing unprintable.
    case failed(reply: [UInt8], reason: String)
}
