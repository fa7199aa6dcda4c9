// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Why a proxy does not connect its client.
public enum ProxyClientError: Error, Hashable, Sendable {
    /// What the client was given can't be said to this proxy.
    case unusable(String)
    /// The proxy answers in another protocol, or breaks its own.
    case malformed(String)
    /// The proxy asks for a user name and password, or for another way to prove who one is.
    case authenticationRequired
    /// The proxy does not take the user name and password.
    case authenticationRefused
    /// A SOCKS proxy refuses, with a code that is none of the known.
    case refusedWithCode(UInt8)
    /// A SOCKS proxy refuses.
    case refused(ProxyReply)
    /// An HTTP proxy refuses. The phrase is printable.
    case status(Int, phrase: String)
}

extension ProxyClientError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unusable(let reason): reason
        case .malformed(let reason): "the proxy's answer makes no sense: \(reason)"
        case .authenticationRequired: "the proxy asks for a user name and password"
        case .authenticationRefused: "the proxy does not accept the user name and password"
        case .refusedWithCode(let code): "the proxy refuses with the unknown code \(code)"
        case .refused(let reply): "the proxy refuses: \(reply)"
        case .status(let code, let phrase): "the proxy refuses: \(code) \(phrase)"
        }
    }
}

/// What is to be done next on a connection to a proxy.
public enum ProxyClientEvent: Hashable, Sendable {
    /// Nothing before there are more bytes.
    case needMore
    /// These bytes are to be written, and then the client is to be asked again.
    case write([UInt8])
    /// The connection leads to the destination. A SOCKS proxy tells its own address towards it, for what that is worth.
    case connected(bound: ProxyDestination?)
    /// The connection is of no use.
    case failed(ProxyClientError)
}

/// The client's half of getting through a proxy to a destination, which the proxy looks up where it is a name.
///
/// To be asked with ``next()`` when the connection to the proxy is up, and whenever ``append(_:)`` fed it, until it says
/// ``ProxyClientEvent/needMore``. What the destination sent already waits for ``takeLeftover()``.
public struct ProxyClient: Sendable {
    /// What the proxy speaks.
    public enum Dialect: Hashable, Sendable {
        /// RFC 1928, with RFC 1929.
        case socks5
        /// CONNECT (RFC 9110, 9.3.6), with Basic authentication (RFC 7617).
        case http
    }

    private enum Machine {
        case socks5(SOCKS5Client)
        case http(HTTPConnectClient)
        case done
    }

    private var machine: Machine
    private var received: [UInt8] = []

    /// - Parameter credentials: presented to a SOCKS5 proxy where it asks for them, and to an HTTP proxy at once.
    /// - Parameter headBound: the longest answer of an HTTP proxy, in bytes.
    public init(
        _ dialect: Dialect, to destination: ProxyDestination, credentials: ProxyCredentials? = nil,
        headBound: Int = 16_384
    ) {
        machine =
            switch dialect {
            case .socks5: .socks5(SOCKS5Client(destination: destination, credentials: credentials))
            case .http:
                .http(HTTPConnectClient(destination: destination, credentials: credentials, headBound: headBound))
            }
    }

    /// Feeds what the proxy has sent, which is copied.
    public mutating func append(_ bytes: RawSpan) { received.append(copying: bytes) }

    /// What is to be done. Behind ``ProxyClientEvent/connected(bound:)`` and ``ProxyClientEvent/failed(_:)`` nothing comes.
    public mutating func next() -> ProxyClientEvent {
        while true {
            let (event, size) = advance()
            received.removeFirst(size)
            switch event {
            // What took bytes and came to nothing may have more behind it.
            case .needMore where size > 0: continue
            case .needMore, .write: break
            case .connected, .failed: machine = .done
            }
            return event
        }
    }

    /// What came behind the proxy's answer: the destination's first bytes. Empty after that.
    public mutating func takeLeftover() -> [UInt8] {
        defer { received = [] }
        return received
    }

    private mutating func advance() -> (event: ProxyClientEvent, size: Int) {
        switch machine {
        case .done: return (.needMore, 0)
        case .socks5(var client):
            defer { machine = .socks5(client) }
            return client.next(received.rawSpan)
        case .http(var client):
            defer { machine = .http(client) }
            return client.next(received)
        }
    }
}
