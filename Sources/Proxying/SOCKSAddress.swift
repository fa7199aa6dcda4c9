// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What RFC 1928 and RFC 1929 fix.
enum SOCKS5 {
    static let version: UInt8 = 5
    /// RFC 1929, 2: the version of the subnegotiation.
    static let passwordVersion: UInt8 = 1

    /// RFC 1928, 3.
    enum Method {
        static let none: UInt8 = 0
        static let password: UInt8 = 2
        static let noneAcceptable: UInt8 = 0xFF
    }

    /// RFC 1928, 4.
    enum Command {
        static let connect: UInt8 = 1
        static let bind: UInt8 = 2
        static let udpAssociate: UInt8 = 3
    }

    /// RFC 1928, 5.
    enum AddressType {
        static let v4: UInt8 = 1
        static let name: UInt8 = 3
        static let v6: UInt8 = 4
    }
}

/// Why a message of SOCKS yields nothing.
enum SOCKSFault: Error, Equatable {
    /// It goes on behind the bytes that are there.
    case truncated
    case refused(ProxyReply, String)
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func octet() throws(SOCKSFault) -> UInt8 {
        do { return try readUInt8() } catch { throw .truncated }
    }

    @_lifetime(self: copy self)
    mutating func octets(_ count: UInt8) throws(SOCKSFault) -> [UInt8] {
        do { return try readBytes(Int(count)) } catch { throw .truncated }
    }

    @_lifetime(self: copy self)
    mutating func port() throws(SOCKSFault) -> UInt16 {
        do { return try readUInt16() } catch { throw .truncated }
    }

    @_lifetime(self: copy self)
    mutating func addressV4() throws(SOCKSFault) -> IPAddress {
        do { return IPAddress(v4: try readUInt32()) } catch { throw .truncated }
    }

    @_lifetime(self: copy self)
    private mutating func addressV6() throws(SOCKSFault) -> IPAddress {
        do { return IPAddress(v6: try readUInt128()) } catch { throw .truncated }
    }

    /// RFC 1928, 5: address type, address, port. Judged when all of it is there, but for a type whose length nobody knows.
    @_lifetime(self: copy self)
    mutating func socksAddress() throws(SOCKSFault) -> ProxyDestination {
        switch try octet() {
        case SOCKS5.AddressType.v4:
            let ip = try addressV4()
            return .address(TransportAddress(ip, port: try port()))
        case SOCKS5.AddressType.v6:
            let ip = try addressV6()
            return .address(TransportAddress(ip, port: try port()))
        case SOCKS5.AddressType.name:
            let name = try octets(try octet())
            return try ProxyDestination(name: name, port: try port())
        case let type:
            throw .refused(.addressTypeNotSupported, "address type \(type) is unknown")
        }
    }
}

extension ProxyDestination {
    /// A name as it came over the wire: printable UTF-8 without spaces. What is not would fool whoever reads the log, or C.
    init(name: [UInt8], port: UInt16) throws(SOCKSFault) {
        guard !name.isEmpty else { throw .refused(.generalFailure, "the destination's name is empty") }
        guard let text = String(validating: name, as: UTF8.self), text.unicodeScalars.allSatisfy(\.isVisible) else {
            throw .refused(.generalFailure, "the destination's name is not printable")
        }
        self.init(host: text, port: port)
    }
}

extension Unicode.Scalar {
    fileprivate var isVisible: Bool {
        guard !isASCII else { return (0x21...0x7E).contains(value) }
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned: return false
        case .spaceSeparator, .lineSeparator, .paragraphSeparator: return false
        default: return true
        }
    }
}

extension Array<UInt8> {
    /// An IPv4 address in its IPv6 form is written as the IPv4 address that it is.
    mutating func append(socksAddress address: TransportAddress) {
        switch address.ip.canonical.family {
        case .v4:
            append(SOCKS5.AddressType.v4)
            append(bigEndian: UInt32(truncatingIfNeeded: address.ip.canonical.value))
        case .v6:
            append(SOCKS5.AddressType.v6)
            append(bigEndian: address.ip.value)
        }
        append(bigEndian: address.port)
    }

    /// - Parameter name: cut at 255 bytes.
    mutating func append(socksName name: String, port: UInt16) {
        let kept = name.utf8.prefix(255)
        append(SOCKS5.AddressType.name)
        append(UInt8(truncatingIfNeeded: kept.count))
        append(contentsOf: kept)
        append(bigEndian: port)
    }

    private mutating func append<T: FixedWidthInteger & BitwiseCopyable>(bigEndian value: T) {
        var shift = T.bitWidth
        while shift > 0 {
            shift -= 8
            append(UInt8(truncatingIfNeeded: value >> T(truncatingIfNeeded: shift)))
        }
    }
}
