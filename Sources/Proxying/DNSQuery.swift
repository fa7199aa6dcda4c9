// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Why a message is not answered with what it asks for.
public enum DNSQueryFault: Error, Equatable, Sendable {
    /// It is no question: it ends within its header, or is an answer itself. Nothing is said to it, or two servers could
    /// go on for ever.
    case notAQuestion
    /// It is answered with this and nothing more.
    case answered([UInt8])
}

/// One question (RFC 1035, 4.1), with its EDNS record where it has one (RFC 6891).
///
///     ID 2 │ flags 2 │ questions 2 │ answers 2 │ authorities 2 │ additionals 2 │ name, type 2, class 2 │ OPT
public struct DNSQuery: Equatable, Sendable {
    /// RFC 6891, 6.1.
    public struct Extension: Equatable, Sendable {
        /// The largest datagram that the asker takes.
        public var size: UInt16
        /// The asker wants signatures (RFC 3225).
        public var wantsSignatures: Bool
    }

    public let id: UInt16
    /// The name that is asked for, in the case that it is asked for in: the answer repeats it, for askers that compare
    /// (draft-vixie-dnsext-dns0x20).
    public let name: DNSName
    public let type: DNSType
    public let queryClass: DNSClass
    public let edns: Extension?
    /// Of the header, what an answer repeats.
    let flags: UInt16

    /// Reads a message.
    public init(_ message: RawSpan) throws(DNSQueryFault) {
        var reader = ByteReader(message)
        let header: DNSHeader
        do { header = try DNSHeader(&reader) } catch { throw .notAQuestion }
        guard header.flags & DNS.Flag.isAnswer == 0 else { throw .notAQuestion }
        id = header.id
        flags = header.flags
        guard header.flags & DNS.Flag.opcode == 0 else { throw .answered(header.failure(.notImplemented)) }
        let version: UInt8
        do throws(Truncated) {
            // RFC 9619: of a question there is one.
            guard header.questions == 1, header.answers == 0, header.authorities == 0 else { throw Truncated() }
            name = try DNSName(&reader)
            type = DNSType(rawValue: try reader.readUInt16())
            queryClass = DNSClass(rawValue: try reader.readUInt16())
            (edns, version) = try DNSQuery.readExtension(&reader, of: header.additionals)
        } catch {
            throw .answered(header.failure(.formatError))
        }
        // RFC 6891, 6.1.3: "If a responder does not implement the VERSION level of the request, then it MUST respond with
        // RCODE=BADVERS."
        guard version == DNS.EDNS.version else { throw .answered(failure(.badVersion)) }
    }

    /// - Returns: the version is 0 where there is no such record.
    private static func readExtension(
        _ reader: inout ByteReader, of count: UInt16
    ) throws(Truncated) -> (Extension?, version: UInt8) {
        var found: (Extension, UInt8)?
        for _ in 0..<count {
            let start = reader.position
            try DNSName.skip(&reader)
            let isAtRoot = reader.position == start + 1
            let type = DNSType(rawValue: try reader.readUInt16())
            let size = try reader.readUInt16()
            let ttl = try reader.readUInt32()
            _ = try reader.readBytes(Int(try reader.readUInt16()))
            guard type == .opt else { continue }
            // RFC 6891, 6.1.1: one, and its name is the root.
            guard found == nil, isAtRoot else { throw Truncated() }
            let wantsSignatures = ttl & DNS.EDNS.wantsSignatures != 0
            found = (Extension(size: size, wantsSignatures: wantsSignatures), UInt8(truncatingIfNeeded: ttl >> 16))
        }
        guard reader.isAtEnd else { throw Truncated() }
        return (found?.0, found?.1 ?? 0)
    }
}

/// RFC 1035, 4.1.1.
struct DNSHeader {
    var id: UInt16
    var flags: UInt16
    var questions: UInt16
    var answers: UInt16
    var authorities: UInt16
    var additionals: UInt16

    init(_ reader: inout ByteReader) throws(Truncated) {
        id = try reader.readUInt16()
        flags = try reader.readUInt16()
        questions = try reader.readUInt16()
        answers = try reader.readUInt16()
        authorities = try reader.readUInt16()
        additionals = try reader.readUInt16()
    }

    /// An answer without anything but a code.
    func failure(_ code: DNSResponseCode) -> [UInt8] {
        var writer = ByteWriter(reserving: DNS.headerSize)
        writer.write(id)
        let kept = flags & (DNS.Flag.opcode | DNS.Flag.recursionDesired | DNS.Flag.checkingDisabled)
        writer.write(kept | DNS.Flag.isAnswer | DNS.Flag.recursionAvailable | code.rawValue & DNS.Flag.code)
        for _ in 0..<4 { writer.write(UInt16(0)) }
        return writer.bytes
    }
}
