// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The server's half of CONNECT (RFC 9110, 9.3.6): one head (RFC 9112), and then it is a tunnel.
struct HTTPConnectServer: Sendable {
    private struct Refusal: Error {
        let status: HTTPStatus
        let text: String
    }

    private let credentials: ProxyCredentials?
    private let headBound: Int
    private var scanner = HTTPHeadScanner()

    init(credentials: ProxyCredentials?, headBound: Int) {
        self.credentials = credentials
        self.headBound = headBound
    }

    /// What the head at the beginning of the bytes comes to, and how many bytes it takes. To be called with the same
    /// bytes and more behind them until it comes to something.
    mutating func next(_ bytes: [UInt8]) -> (event: ProxyEvent, size: Int) {
        do throws(Refusal) {
            guard let size = scanner.end(in: bytes, bound: headBound) else {
                if bytes.count >= headBound { throw tooLong }
                return (.needMore, 0)
            }
            return (.request(try judge(try read(bytes[..<size]))), size)
        } catch {
            let reply = HTTPResponse.bytes(error.status, because: error.text)
            return (.failed(reply: reply, reason: "HTTP: \(error.text)"), 0)
        }
    }

    private var tooLong: Refusal {
        scanner.hasStarted
            ? Refusal(status: .requestHeaderFieldsTooLarge, text: "the head is longer than \(headBound) bytes")
            : Refusal(status: .uriTooLong, text: "the request line is longer than \(headBound) bytes")
    }

    private func read(_ bytes: ArraySlice<UInt8>) throws(Refusal) -> HTTPHead {
        do { return try HTTPHead(bytes) } catch { throw Refusal(status: .badRequest, text: error.text) }
    }

    private func judge(_ head: HTTPHead) throws(Refusal) -> ProxyRequest {
        let authority = try authority(head.startLine)
        try judgeFields(head)
        let presented = try presented(head)
        guard let named = HostAndPort(authority), named.port > 0 else {
            throw Refusal(status: .badRequest, text: "the destination is no host:port or [IPv6]:port")
        }
        return ProxyRequest(.http, .connect, to: ProxyDestination(named), credentials: presented)
    }

    /// RFC 9112, 3: method, space, target, space, version.
    private func authority(_ line: String) throws(Refusal) -> String {
        let parts = line.utf8.split(separator: .space, omittingEmptySubsequences: false).map { String($0) }
        guard parts.count == 3, let method = parts[0], let target = parts[1], let version = parts[2],
            HTTPHead.isToken(method.utf8), !target.isEmpty
        else {
            throw Refusal(status: .badRequest, text: "the request line is not: method, target, version")
        }
        guard version.hasPrefix("HTTP/") else {
            throw Refusal(status: .badRequest, text: "the request line does not end with HTTP's version")
        }
        // HTTP/1.0 has the same head; netcat and others send it.
        guard version == "HTTP/1.1" || version == "HTTP/1.0" else {
            throw Refusal(status: .versionNotSupported, text: "only HTTP/1.1 is spoken here")
        }
        guard method == "CONNECT" else {
            throw Refusal(status: .methodNotAllowed, text: "this proxy serves CONNECT alone: use https, or a tunnel")
        }
        return target
    }

    /// RFC 9112, 3.2: not more than one Host. That there has to be one is not held against CONNECT, which says the same in
    /// its target: many clients leave it out. RFC 9110, 9.3.6: CONNECT has no content, so what announces some is refused
    /// rather than taken for the tunnel's first bytes.
    private func judgeFields(_ head: HTTPHead) throws(Refusal) {
        guard head.values("host").count <= 1 else {
            throw Refusal(status: .badRequest, text: "there is more than one Host")
        }
        guard head.values("transfer-encoding").isEmpty, head.values("content-length").allSatisfy({ $0 == "0" }) else {
            throw Refusal(status: .badRequest, text: "CONNECT has no content")
        }
    }

    /// RFC 9110, 11.7.2; RFC 7617, 2. The scheme's name is case-insensitive.
    private func presented(_ head: HTTPHead) throws(Refusal) -> ProxyCredentials? {
        let values = head.values("proxy-authorization")
        guard values.count <= 1 else {
            throw Refusal(status: .badRequest, text: "there is more than one Proxy-Authorization")
        }
        let parts = (values.first ?? "").split(separator: " ", maxSplits: 1)
        let isBasic = parts.count == 2 && parts[0].lowercased() == "basic"
        let presented = isBasic ? ProxyCredentials(basic: parts[1].drop { $0 == " " }) : nil
        guard let credentials else { return presented }
        guard let presented else {
            throw Refusal(status: .proxyAuthenticationRequired, text: "this proxy asks for a user name and password")
        }
        guard credentials.matches(presented) else {
            throw Refusal(status: .proxyAuthenticationRequired, text: "wrong user name or password")
        }
        return presented
    }
}
