// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Reads what a client asks of a proxy, in whichever of the protocols it speaks: one port serves SOCKS4, SOCKS5 and HTTP,
/// which differ in their first byte.
///
/// To be fed with ``append(_:)``, and then asked with ``next()`` until that is ``ProxyEvent/needMore``. What the client
/// sends too early is not lost: it waits for ``takeLeftover()``. A message that has no end holds at most 513 bytes, or
/// the bound of an HTTP head; how long it may take is the caller's to limit.
public struct ProxyRequestReader: Sendable {
    private enum Dialect {
        case undecided
        case socks4(SOCKS4Server)
        case socks5(SOCKS5Server)
        case http(HTTPConnectServer)
        case done
    }

    private var dialect = Dialect.undecided
    /// What was fed and is not consumed yet.
    private var received: [UInt8] = []
    private let credentials: ProxyCredentials?
    private let headBound: Int

    /// - Parameter credentials: what a client has to present; nil where everybody is served.
    /// - Parameter headBound: the longest head of an HTTP request, in bytes.
    public init(credentials: ProxyCredentials? = nil, headBound: Int = 16_384) {
        self.credentials = credentials
        self.headBound = headBound
    }

    /// Feeds what the client has sent, which is copied.
    public mutating func append(_ bytes: RawSpan) { received.append(copying: bytes) }

    /// What the bytes come to. Behind ``ProxyEvent/request(_:)`` and ``ProxyEvent/failed(reply:reason:)`` nothing comes.
    public mutating func next() -> ProxyEvent {
        if case .undecided = dialect {
            guard let first = received.first else { return .needMore }
            guard let dialect = dialect(of: first) else { return finish(refusal(of: first)) }
            self.dialect = dialect
        }
        let (event, size) = advance()
        received.removeFirst(size)
        switch event {
        case .needMore, .reply: return event
        case .request, .failed: return finish(event)
        }
    }

    /// What came behind the request: the application's first bytes, to be passed on before anything else. Empty after that.
    public mutating func takeLeftover() -> [UInt8] {
        defer { received = [] }
        return received
    }

    private mutating func advance() -> (event: ProxyEvent, size: Int) {
        switch dialect {
        case .undecided, .done: return (.needMore, 0)
        case .socks4(let server): return server.next(received.rawSpan)
        case .socks5(var server):
            defer { dialect = .socks5(server) }
            return server.next(received.rawSpan)
        case .http(var server):
            defer { dialect = .http(server) }
            return server.next(received)
        }
    }

    private mutating func finish(_ event: ProxyEvent) -> ProxyEvent {
        dialect = .done
        return event
    }

    /// HTTP begins with a method, which is a token (RFC 9110, 9.1), or with an empty line (RFC 9112, 2.2).
    private func dialect(of first: UInt8) -> Dialect? {
        switch first {
        case SOCKS4.version: .socks4(SOCKS4Server(credentials: credentials))
        case SOCKS5.version: .socks5(SOCKS5Server(credentials: credentials))
        case .carriageReturn, .lineFeed: .http(HTTPConnectServer(credentials: credentials, headBound: headBound))
        case let byte where HTTPHead.isToken(CollectionOfOne(byte)):
            .http(HTTPConnectServer(credentials: credentials, headBound: headBound))
        default: nil
        }
    }

    /// RFC 8446, 5.1: a client of TLS begins with a record of type 22.
    private func refusal(of first: UInt8) -> ProxyEvent {
        let what = first == 22 ? "TLS, which this proxy's port does not speak" : "neither SOCKS nor HTTP"
        return .failed(reply: [], reason: "the client speaks \(what) (first byte \(first))")
    }
}
