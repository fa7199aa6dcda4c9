// SPDX-License-Identifier: Apache-2.0

import Primitives

/// Reads the handshake messages that come after the handshake (RFC 8446, 4.6), in whatever pieces the records hold
/// them, and keeps none of them: tickets are skipped, a key update is told.
struct PostHandshakeReader {
    /// Our own KeyUpdate, which asks for none in return: each side watches its own keys.
    static let keyUpdateMessage: [UInt8] = [MessageType.keyUpdate, 0, 0, 1, 0]

    /// What a record's messages ask for.
    enum Outcome: Equatable {
        case nothing
        /// The peer's next record has its next key; and it may want us to change ours.
        case keyUpdate(requested: Bool)
    }

    private enum MessageType {
        static let newSessionTicket: UInt8 = 4
        static let keyUpdate: UInt8 = 24
    }

    private static let headerLength = 4

    /// The header's bytes so far: the type, and the length in 24 bits.
    private var header: UInt32 = 0
    private var headerCount = 0
    /// Bytes of the message's body still to come, once the header is whole.
    private var bodyLeft = 0

    /// Whether a message is begun and not ended: no other content may come between (RFC 8446, 5.1).
    var isInMessage: Bool { headerCount > 0 }

    /// Reads one record's content.
    mutating func read(_ content: RawSpan, role: TLSContext.Role) throws(TLSError) -> Outcome {
        var reader = ByteReader(content)
        do {
            while !reader.isAtEnd {
                guard try readHeader(&reader, role: role) else { return .nothing }
                if type == MessageType.keyUpdate {
                    guard !reader.isAtEnd else { return .nothing }
                    return try keyUpdate(try reader.readUInt8(), isLast: reader.isAtEnd)
                }
                let skipped = min(bodyLeft, reader.remaining)
                _ = try reader.readSpan(skipped)
                bodyLeft -= skipped
                if bodyLeft == 0 { endMessage() }
            }
            return .nothing
        } catch let error as TLSError {
            throw error
        } catch {
            throw .peer("the other side sent a handshake message that ends too early", .decodeError)
        }
    }

    private var type: UInt8 { UInt8(truncatingIfNeeded: header >> 24) }

    /// False: the record ends before the header does.
    private mutating func readHeader(_ reader: inout ByteReader, role: TLSContext.Role) throws -> Bool {
        if headerCount == Self.headerLength { return true }
        while headerCount < Self.headerLength {
            guard !reader.isAtEnd else { return false }
            header = header << 8 | UInt32(try reader.readUInt8())
            headerCount += 1
        }
        bodyLeft = Int(header & 0xFF_FFFF)
        try check(role)
        return true
    }

    private func check(_ role: TLSContext.Role) throws(TLSError) {
        switch type {
        case MessageType.newSessionTicket where role == .client: return
        case MessageType.keyUpdate:
            guard bodyLeft == 1 else {
                throw .peer("the other side sent a key update of \(bodyLeft) bytes", .decodeError)
            }
        default:
            throw .peer("the other side sent handshake message \(type) after the handshake", .unexpectedMessage)
        }
    }

    private mutating func keyUpdate(_ request: UInt8, isLast: Bool) throws(TLSError) -> Outcome {
        // What follows would be under the old key (RFC 8446, 5.1).
        guard isLast else { throw .peer("the other side sent more behind a key update", .unexpectedMessage) }
        guard request <= 1 else {
            throw .peer("the other side sent a key update that asks for \(request)", .illegalParameter)
        }
        endMessage()
        return .keyUpdate(requested: request == 1)
    }

    private mutating func endMessage() {
        header = 0
        headerCount = 0
        bodyLeft = 0
    }
}
