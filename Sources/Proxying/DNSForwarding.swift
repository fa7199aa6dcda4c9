// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// A question on its way to another server, under a number of its own.
public struct DNSForwarding: Equatable, Sendable {
    /// What is sent: the question as it came, but for its number.
    public let message: [UInt8]
    private let query: DNSQuery
    private let id: UInt16

    /// - Parameters:
    ///   - message: the question's octets, as they came.
    ///   - id: nobody can guess it (RFC 5452, 9.2).
    public init(_ query: DNSQuery, _ message: [UInt8], id: UInt16) {
        self.query = query
        self.id = id
        self.message = DNSForwarding.renumbered(message, id)
    }

    /// What the asker is to be told, where this is the answer to the question; nil where it is some other message, which is
    /// not looked at any further (RFC 5452, 4.2 and 9.1). An answer that was cut (TC) stays so.
    public func answer(_ message: RawSpan) -> [UInt8]? {
        var reader = ByteReader(message)
        guard let header = try? DNSHeader(&reader), header.id == id, header.flags & DNS.Flag.isAnswer != 0,
            header.flags & DNS.Flag.opcode == 0
        else { return nil }
        if header.questions == 0 {
            // Old servers say so of an OPT record that they can't read (RFC 6891, 7).
            let code = DNSResponseCode(rawValue: header.flags & DNS.Flag.code)
            guard code == .formatError || code == .notImplemented else { return nil }
        } else {
            guard header.questions == 1, (try? isSame(&reader)) == true else { return nil }
        }
        var bytes: [UInt8] = []
        bytes.append(copying: message)
        return DNSForwarding.renumbered(bytes, query.id)
    }

    private func isSame(_ reader: inout ByteReader) throws(Truncated) -> Bool {
        let name = try DNSName(&reader)
        let type = try reader.readUInt16()
        let queryClass = try reader.readUInt16()
        return DNSName.areSame(name.wire[...], query.name.wire[...]) && type == query.type.rawValue
            && queryClass == query.queryClass.rawValue
    }

    private static func renumbered(_ message: [UInt8], _ id: UInt16) -> [UInt8] {
        [UInt8(id >> 8), UInt8(truncatingIfNeeded: id)] + message.dropFirst(2)
    }
}
