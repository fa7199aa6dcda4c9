// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The server's half of SOCKS5 up to the request.
///
///     greeting ──no authentication──▶ request ──▶ done
///         └──────user name, password──▶ password ──▲
///
/// No message is longer than 513 bytes (RFC 1929, 2), so no more than that ever waits for its end.
struct SOCKS5Server: Sendable {
    private enum Stage { case greeting, password, request }

    private var stage = Stage.greeting
    private let credentials: ProxyCredentials?
    private var presented: ProxyCredentials?

    init(credentials: ProxyCredentials?) { self.credentials = credentials }

    /// What the message at the beginning of the bytes comes to, and how many bytes it takes.
    mutating func next(_ bytes: RawSpan) -> (event: ProxyEvent, size: Int) {
        var reader = ByteReader(bytes)
        do throws(SOCKSFault) {
            let event =
                switch stage {
                case .greeting: try readGreeting(&reader)
                case .password: try readPassword(&reader)
                case .request: try readRequest(&reader)
                }
            return (event, reader.position)
        } catch {
            switch error {
            case .truncated: return (.needMore, 0)
            case .refused(let reply, let reason):
                return (.failed(reply: refusal(reply), reason: "SOCKS5: \(reason)"), 0)
            }
        }
    }

    /// How a refusal is written depends on what the client waits for.
    private func refusal(_ reply: ProxyReply) -> [UInt8] {
        switch stage {
        case .greeting: [SOCKS5.version, SOCKS5.Method.noneAcceptable]
        case .password: [SOCKS5.passwordVersion, 1]
        case .request: reply.socks5()
        }
    }

    /// RFC 1928, 3: version, number of methods, methods.
    private mutating func readGreeting(_ reader: inout ByteReader) throws(SOCKSFault) -> ProxyEvent {
        try expect(SOCKS5.version, try reader.octet(), "version")
        let methods = try reader.octets(try reader.octet())
        if credentials == nil, methods.contains(SOCKS5.Method.none) {
            stage = .request
            return .reply([SOCKS5.version, SOCKS5.Method.none])
        }
        // A client that was given credentials may offer nothing else. Where none are asked for, any will do.
        guard methods.contains(SOCKS5.Method.password) else {
            let wanted = credentials == nil ? "no authentication" : "a user name and password"
            throw .refused(.notAllowed, "the client does not offer \(wanted)")
        }
        stage = .password
        return .reply([SOCKS5.version, SOCKS5.Method.password])
    }

    /// RFC 1929, 2: version, length and user name, length and password.
    private mutating func readPassword(_ reader: inout ByteReader) throws(SOCKSFault) -> ProxyEvent {
        try expect(SOCKS5.passwordVersion, try reader.octet(), "version of the user name and password")
        let user = try reader.octets(try reader.octet())
        let password = try reader.octets(try reader.octet())
        let presented = ProxyCredentials(user: user, password: password)
        if let credentials, !credentials.matches(presented) {
            throw .refused(.notAllowed, "wrong user name or password")
        }
        self.presented = presented
        stage = .request
        return .reply([SOCKS5.passwordVersion, 0])
    }

    /// RFC 1928, 4: version, command, reserved, destination. The command is judged when all of it is there, so that a
    /// client has nothing left to send when it is refused.
    private func readRequest(_ reader: inout ByteReader) throws(SOCKSFault) -> ProxyEvent {
        try expect(SOCKS5.version, try reader.octet(), "version of the request")
        let command = try reader.octet()
        try expect(0, try reader.octet(), "reserved byte")
        let destination = try reader.socksAddress()
        return .request(
            ProxyRequest(.socks5, try judge(command, destination), to: destination, credentials: presented))
    }

    private func judge(
        _ command: UInt8, _ destination: ProxyDestination
    ) throws(SOCKSFault) -> ProxyRequest.Command {
        switch command {
        case SOCKS5.Command.connect:
            guard destination.port > 0 else { throw .refused(.generalFailure, "the destination has port 0") }
            return .connect
        case SOCKS5.Command.udpAssociate: return .udpAssociate
        case SOCKS5.Command.bind: throw .refused(.commandNotSupported, "BIND is not supported")
        default: throw .refused(.commandNotSupported, "command \(command) is unknown")
        }
    }

    private func expect(_ wanted: UInt8, _ found: UInt8, _ what: String) throws(SOCKSFault) {
        guard found == wanted else { throw .refused(.generalFailure, "the \(what) is \(found), not \(wanted)") }
    }
}
