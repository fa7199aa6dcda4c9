// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What a record says.
public enum DNSRecord: Equatable, Sendable {
    /// An A or AAAA record.
    case address(IPAddress)
    /// A PTR record.
    case name(DNSName)
}

/// Answers, each a whole message of less than 512 octets, which every asker takes (RFC 1035, 2.3.4).
extension DNSQuery {
    /// - Parameters:
    ///   - record: of the name that is asked for.
    ///   - lifetime: for how many seconds it may be kept.
    public func answer(_ record: DNSRecord, lifetime: UInt32) -> [UInt8] {
        var writer = head(.noError, isAuthoritative: true, answers: 1, authorities: 0)
        writer.write(DNS.pointer | UInt16(DNS.headerSize))
        switch record {
        case .address(let address):
            writer.write(type: address.family == .v4 ? .a : .aaaa, lifetime: lifetime)
            writer.writeString16(address.bytes)
        case .name(let name):
            writer.write(type: .ptr, lifetime: lifetime)
            writer.writeString16(name.wire)
        }
        return end(writer)
    }

    /// There is no such name, or (`noError`) nothing of the type that is asked for. RFC 2308, 2 and 3: with the zone's SOA
    /// record, without which nobody keeps such an answer.
    /// - Parameters:
    ///   - zone: the zone that this server answers for, which the name that is asked for is in.
    ///   - lifetime: for how many seconds the answer may be kept.
    public func absence(_ code: DNSResponseCode, in zone: DNSName, lifetime: UInt32) -> [UInt8] {
        var writer = head(code, isAuthoritative: true, answers: 0, authorities: 1)
        write(authorityOf: zone, lifetime, to: &writer)
        return end(writer)
    }

    /// The zone's SOA record, where that is what is asked for.
    public func answer(authorityOf zone: DNSName, lifetime: UInt32) -> [UInt8] {
        var writer = head(.noError, isAuthoritative: true, answers: 1, authorities: 0)
        write(authorityOf: zone, lifetime, to: &writer)
        return end(writer)
    }

    /// Nothing but a code.
    public func failure(_ code: DNSResponseCode) -> [UInt8] {
        end(head(code, isAuthoritative: false, answers: 0, authorities: 0), code)
    }

    private func head(
        _ code: DNSResponseCode, isAuthoritative: Bool, answers: UInt16, authorities: UInt16
    ) -> ByteWriter {
        var writer = ByteWriter(reserving: 512)
        writer.write(id)
        let kept = flags & (DNS.Flag.recursionDesired | DNS.Flag.checkingDisabled)
        let authoritative = isAuthoritative ? DNS.Flag.isAuthoritative : 0
        writer.write(
            DNS.Flag.isAnswer | DNS.Flag.recursionAvailable | kept | authoritative | code.rawValue & DNS.Flag.code)
        writer.write(UInt16(1))
        writer.write(answers)
        writer.write(authorities)
        writer.write(UInt16(edns == nil ? 0 : 1))
        writer.write(name.wire)
        writer.write(type.rawValue)
        writer.write(queryClass.rawValue)
        return writer
    }

    /// RFC 6303, 3: what a zone that is nobody's says of itself.
    private func write(authorityOf zone: DNSName, _ lifetime: UInt32, to writer: inout ByteWriter) {
        let place: [UInt8]
        if let offset = name.offset(of: zone) {
            let pointer = DNS.pointer | UInt16(DNS.headerSize + offset)
            place = [UInt8(pointer >> 8), UInt8(truncatingIfNeeded: pointer)]
        } else {
            place = zone.wire
        }
        writer.write(place)
        writer.write(type: .soa, lifetime: lifetime)
        var data = ByteWriter()
        data.write(place)
        data.write(DNSQuery.nobody)
        for number in [1, 3_600, 1_200, 604_800, lifetime] as [UInt32] { data.write(number) }
        writer.writeString16(data.bytes)
    }

    private static let nobody = DNSName("nobody.invalid")?.wire ?? [0]

    /// RFC 6891, 6.1.1: who asks with an OPT record is answered with one.
    private func end(_ written: ByteWriter, _ code: DNSResponseCode = .noError) -> [UInt8] {
        guard let edns else { return written.bytes }
        var writer = written
        writer.write(UInt8(0))
        writer.write(DNSType.opt.rawValue)
        writer.write(DNS.EDNS.size)
        writer.write(UInt32(code.rawValue >> 4) << 24 | (edns.wantsSignatures ? DNS.EDNS.wantsSignatures : 0))
        writer.write(UInt16(0))
        return writer.bytes
    }
}

extension ByteWriter {
    /// RFC 1035, 4.1.3, between the name and the data's length.
    fileprivate mutating func write(type: DNSType, lifetime: UInt32) {
        write(type.rawValue)
        write(DNSClass.internet.rawValue)
        write(lifetime)
    }
}
