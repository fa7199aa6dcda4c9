// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What the memos on SOCKS4 and SOCKS4A fix.
enum SOCKS4 {
    static let version: UInt8 = 4
    static let connect: UInt8 = 1
    static let granted: UInt8 = 90
    static let rejected: UInt8 = 91
    /// The longest user ID, and the longest name. The memos know no bound.
    static let textBound = 255
}

/// The server's half of SOCKS4 and SOCKS4A: one message.
///
///     version  command  port     IPv4 address  user ID, NUL  [name, NUL, where the address is 0.0.0.1 to 0.0.0.255]
///
/// It has no password, so it serves only where none is asked for.
struct SOCKS4Server: Sendable {
    let credentials: ProxyCredentials?

    /// What the message at the beginning of the bytes comes to, and how many bytes it takes.
    func next(_ bytes: RawSpan) -> (event: ProxyEvent, size: Int) {
        var reader = ByteReader(bytes)
        do throws(SOCKSFault) {
            let request = try readRequest(&reader)
            return (.request(request), reader.position)
        } catch {
            switch error {
            case .truncated: return (.needMore, 0)
            case .refused(let reply, let reason):
                return (.failed(reply: reply.socks4(), reason: "SOCKS4: \(reason)"), 0)
            }
        }
    }

    private func readRequest(_ reader: inout ByteReader) throws(SOCKSFault) -> ProxyRequest {
        guard credentials == nil else {
            throw .refused(.notAllowed, "it has no password, and one is asked for")
        }
        let version = try reader.octet()
        guard version == SOCKS4.version else { throw .refused(.generalFailure, "the version is \(version), not 4") }
        let command = try reader.octet()
        let port = try reader.port()
        let ip = try reader.addressV4()
        _ = try reader.terminated("user ID")
        let destination: ProxyDestination =
            if (1...255).contains(ip.value) {
                try ProxyDestination(name: try reader.terminated("destination's name"), port: port)
            } else {
                .address(TransportAddress(ip, port: port))
            }
        guard command == SOCKS4.connect else {
            throw .refused(.commandNotSupported, "command \(command) is not supported")
        }
        guard port > 0 else { throw .refused(.generalFailure, "the destination has port 0") }
        return ProxyRequest(.socks4, .connect, to: destination)
    }
}

extension ByteReader {
    /// The bytes up to a NUL, which is read too.
    @_lifetime(self: copy self)
    fileprivate mutating func terminated(_ what: String) throws(SOCKSFault) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let byte = try octet()
            if byte == 0 { return bytes }
            guard bytes.count < SOCKS4.textBound else {
                throw .refused(.generalFailure, "the \(what) is longer than \(SOCKS4.textBound) bytes")
            }
            bytes.append(byte)
        }
    }
}
