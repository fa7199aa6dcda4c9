// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Why bytes are no PROXY header that can be used. The connection is to be dropped.
public enum ProxyHeaderError: Error, Hashable, Sendable {
    /// The bytes do not begin with the signature.
    case noSignature
    case unknownVersion(UInt8)
    case unknownCommand(UInt8)
    case unknownFamily(UInt8)
    case unknownTransport(UInt8)
    /// The length leaves no room for the addresses of the family.
    case addressesTooShort(Int)
    /// The header is longer than the receiver's bound.
    case tooLong(Int, bound: Int)
    /// A vector runs over the header's end.
    case malformedVector
    /// The datagram ends within the header.
    case truncated
}

extension ProxyHeaderError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noSignature: "no PROXY protocol header, version 2"
        case .unknownVersion(let version): "PROXY protocol version \(version) is not 2"
        case .unknownCommand(let command): "unknown PROXY protocol command \(command)"
        case .unknownFamily(let family): "unknown PROXY protocol address family \(family)"
        case .unknownTransport(let transport): "unknown PROXY protocol transport \(transport)"
        case .addressesTooShort(let count): "\(count) bytes do not hold the PROXY header's addresses"
        case .tooLong(let count, let bound): "a PROXY header of \(count) bytes is over the bound of \(bound)"
        case .malformedVector: "a vector runs over the end of the PROXY header"
        case .truncated: "the PROXY header is cut short"
        }
    }
}

extension ProxyHeader {
    /// Reads the header at the beginning of a stream.
    ///
    /// Every byte is judged as soon as it is there, so that what is no header is refused at its first wrong byte and
    /// what never ends holds at most `bound` bytes.
    /// - Parameter bound: the longest header to take, with its vectors, which are checked and skipped.
    /// - Returns: the header and how many bytes it takes; nil where more are needed.
    public static func parse(
        stream bytes: RawSpan, bound: Int = 2_048
    ) throws(ProxyHeaderError) -> (header: ProxyHeader, size: Int)? {
        var reader = ByteReader(bytes)
        for expected in signature {
            guard let byte = try? reader.readUInt8() else { return nil }
            guard byte == expected else { throw .noSignature }
        }
        guard let versionAndCommand = try? reader.readUInt8() else { return nil }
        let isProxied = try isProxied(versionAndCommand)
        guard let familyAndTransport = try? reader.readUInt8() else { return nil }
        // 2.2: a receiver of LOCAL discards the block, "including the family which is ignored".
        let block = isProxied ? try Block(familyAndTransport) : .opaque(size: 0)
        guard let length = try? reader.readUInt16() else { return nil }
        let size = fixedSize + Int(length)
        guard size <= bound else { throw .tooLong(size, bound: bound) }
        guard length >= block.size else { throw .addressesTooShort(Int(length)) }
        // 2.2: no address is parsed before the whole block is there.
        guard reader.remaining >= length else { return nil }
        return (try reader.readBlock(block, endingAt: size), size)
    }

    /// Reads the header at the beginning of a datagram, which has to hold all of it.
    public static func parse(
        datagram bytes: RawSpan, bound: Int = 2_048
    ) throws(ProxyHeaderError) -> (header: ProxyHeader, size: Int) {
        guard let parsed = try parse(stream: bytes, bound: bound) else { throw .truncated }
        return parsed
    }

    private static func isProxied(_ byte: UInt8) throws(ProxyHeaderError) -> Bool {
        guard byte >> 4 == version else { throw .unknownVersion(byte >> 4) }
        switch byte & 0xF {
        case localCommand: return false
        case proxyCommand: return true
        case let command: throw .unknownCommand(command)
        }
    }

    /// What stands behind the fixed bytes.
    fileprivate enum Block {
        /// Nothing that is read: LOCAL, or a family without transport addresses.
        case opaque(size: Int)
        case inet(Transport)
        case inet6(Transport)

        init(_ byte: UInt8) throws(ProxyHeaderError) {
            let (family, transport) = (byte >> 4, byte & 0xF)
            guard family <= unix else { throw .unknownFamily(family) }
            guard transport <= Transport.datagram.rawValue else { throw .unknownTransport(transport) }
            switch (family, Transport(rawValue: transport)) {
            case (ProxyHeader.inet, let transport?): self = .inet(transport)
            case (ProxyHeader.inet6, let transport?): self = .inet6(transport)
            case (ProxyHeader.unix, .some): self = .opaque(size: 216)
            // Something unspecified leaves it open what follows.
            default: self = .opaque(size: 0)
            }
        }

        var size: Int {
            switch self {
            case .opaque(let size): size
            case .inet: 12
            case .inet6: 36
            }
        }
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readBlock(
        _ block: ProxyHeader.Block, endingAt end: Int
    ) throws(ProxyHeaderError) -> ProxyHeader {
        let header: ProxyHeader
        do throws(Truncated) {
            switch block {
            case .opaque: return .local
            case .inet(let transport):
                let (source, destination) = (IPAddress(v4: try readUInt32()), IPAddress(v4: try readUInt32()))
                header = try readPorts(transport, source, destination)
            case .inet6(let transport):
                let (source, destination) = (IPAddress(v6: try readUInt128()), IPAddress(v6: try readUInt128()))
                header = try readPorts(transport, source, destination)
            }
        } catch {
            throw .addressesTooShort(remaining)
        }
        while position < end { try skipVector(endingAt: end) }
        return header
    }

    @_lifetime(self: copy self)
    private mutating func readPorts(
        _ transport: ProxyHeader.Transport, _ source: IPAddress, _ destination: IPAddress
    ) throws(Truncated) -> ProxyHeader {
        let (from, to) = (try readUInt16(), try readUInt16())
        return .proxied(
            transport, source: TransportAddress(source, port: from),
            destination: TransportAddress(destination, port: to))
    }

    /// 2.2: type, length in 16 bits, value. None of them changes what the header says.
    @_lifetime(self: copy self)
    private mutating func skipVector(endingAt end: Int) throws(ProxyHeaderError) {
        do throws(Truncated) {
            _ = try readUInt8()
            let length = Int(try readUInt16())
            _ = try readSpan(length)
        } catch {
            throw .malformedVector
        }
        guard position <= end else { throw .malformedVector }
    }
}
