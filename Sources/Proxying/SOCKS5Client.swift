// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The client's half of SOCKS5's CONNECT.
///
///     greeting ──▶ method ──no authentication──▶ reply ──▶ done
///                     └──user name, password──▶ password ──▲
struct SOCKS5Client: Sendable {
    private enum Stage { case greeting, method, password, reply }
    private enum Fault: Error {
        case truncated
        case failed(ProxyClientError)

        init(_ fault: SOCKSFault) {
            switch fault {
            case .truncated: self = .truncated
            case .refused(_, let reason): self = .failed(.malformed(reason))
            }
        }
    }

    private var stage = Stage.greeting
    private let destination: ProxyDestination
    private let credentials: ProxyCredentials?

    init(destination: ProxyDestination, credentials: ProxyCredentials?) {
        self.destination = destination
        self.credentials = credentials
    }

    /// What is to be done, and how many of the bytes that takes.
    mutating func next(_ bytes: RawSpan) -> (event: ProxyClientEvent, size: Int) {
        var reader = ByteReader(bytes)
        do throws(Fault) {
            let event: ProxyClientEvent =
                switch stage {
                case .greeting: .write(try greet())
                case .method: .write(try readMethod(&reader))
                case .password: .write(try readPasswordStatus(&reader))
                case .reply: .connected(bound: try readReply(&reader))
                }
            return (event, reader.position)
        } catch {
            switch error {
            case .truncated: return (.needMore, 0)
            case .failed(let error): return (.failed(error), 0)
            }
        }
    }

    /// RFC 1928, 3.
    private mutating func greet() throws(Fault) -> [UInt8] {
        if case .name(let name, _) = destination, !(1...255).contains(name.utf8.count) {
            throw .failed(.unusable("SOCKS5 has no room for a name of \(name.utf8.count) bytes"))
        }
        stage = .method
        guard let credentials else { return [SOCKS5.version, 1, SOCKS5.Method.none] }
        guard (1...255).contains(credentials.user.count), credentials.password.count <= 255 else {
            throw .failed(.unusable("SOCKS5 takes a user name of 1 to 255 bytes and a password of up to 255"))
        }
        return [SOCKS5.version, 2, SOCKS5.Method.none, SOCKS5.Method.password]
    }

    private mutating func readMethod(_ reader: inout ByteReader) throws(Fault) -> [UInt8] {
        try expectVersion(SOCKS5.version, &reader)
        switch (try octet(&reader), credentials) {
        case (SOCKS5.Method.none, _):
            stage = .reply
            return request
        case (SOCKS5.Method.password, let credentials?):
            stage = .password
            return SOCKS5Client.presentation(of: credentials)
        case (SOCKS5.Method.noneAcceptable, _):
            throw .failed(credentials == nil ? .authenticationRequired : .authenticationRefused)
        case (let method, _):
            throw .failed(.malformed("it chose the authentication method \(method), which was not offered"))
        }
    }

    /// RFC 1929, 2.
    private static func presentation(of credentials: ProxyCredentials) -> [UInt8] {
        var writer = ByteWriter(reserving: 513)
        writer.write(SOCKS5.passwordVersion)
        for text in [credentials.user, credentials.password] {
            writer.write(UInt8(truncatingIfNeeded: text.count))
            writer.write(text)
        }
        return writer.bytes
    }

    /// RFC 1929, 2: version, status. Some servers answer with SOCKS5's version.
    private mutating func readPasswordStatus(_ reader: inout ByteReader) throws(Fault) -> [UInt8] {
        let version = try octet(&reader)
        guard version == SOCKS5.passwordVersion || version == SOCKS5.version else {
            throw .failed(.malformed("version \(version) of the user name and password is not 1"))
        }
        guard try octet(&reader) == 0 else { throw .failed(.authenticationRefused) }
        stage = .reply
        return request
    }

    /// RFC 1928, 4.
    private var request: [UInt8] {
        var bytes = [SOCKS5.version, SOCKS5.Command.connect, 0]
        switch destination {
        case .address(let address): bytes.append(socksAddress: address)
        case .name(let name, let port): bytes.append(socksName: name, port: port)
        }
        return bytes
    }

    /// RFC 1928, 6. A refusal is one at its second byte: some servers send no more.
    private func readReply(_ reader: inout ByteReader) throws(Fault) -> ProxyDestination {
        try expectVersion(SOCKS5.version, &reader)
        let code = try octet(&reader)
        guard let reply = ProxyReply(rawValue: code) else { throw .failed(.refusedWithCode(code)) }
        guard reply == .succeeded else { throw .failed(.refused(reply)) }
        _ = try octet(&reader)
        do throws(SOCKSFault) {
            return try reader.socksAddress()
        } catch {
            throw Fault(error)
        }
    }

    private func octet(_ reader: inout ByteReader) throws(Fault) -> UInt8 {
        do { return try reader.readUInt8() } catch { throw .truncated }
    }

    private func expectVersion(_ wanted: UInt8, _ reader: inout ByteReader) throws(Fault) {
        let version = try octet(&reader)
        guard version == wanted else { throw .failed(.malformed("it is no SOCKS5 (first byte \(version))")) }
    }
}
