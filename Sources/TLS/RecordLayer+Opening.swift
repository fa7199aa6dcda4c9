// SPDX-License-Identifier: Apache-2.0

import Primitives

extension RecordLayer {
    /// A peer may send this many records in a row that carry no data, times ``quietCost``.
    static let fullPatience = 32 * quietCost
    /// So many records of data make up for one without.
    private static let quietCost = 8

    /// The content of one record, without its padding.
    private struct Content {
        var type: UInt8
        /// Bytes from the record's start.
        var range: Range<Int>
    }

    @inline(__always)
    func open(_ ciphertext: inout Slice) throws(TLSError) -> Opened {
        guard canOpen else { return try openNothing(&ciphertext) }
        do {
            return try openRecord(&ciphertext)
        } catch {
            fail(error)
            throw error
        }
    }

    private func openNothing(_ ciphertext: inout Slice) throws(TLSError) -> Opened {
        if let failure { throw failure }
        guard hasReceivedClose else { throw .local("the TLS handshake is not over yet") }
        // Whatever comes after the closure is ignored (RFC 8446, 6.1).
        ciphertext.truncate(to: 0)
        return .closeNotify
    }

    @inline(__always)
    private func openRecord(_ ciphertext: inout Slice) throws(TLSError) -> Opened {
        guard let body = try bodyLength(ciphertext.bytes), ciphertext.count >= Self.headerLength + body else {
            return .needMore
        }
        let content = try ciphertext.withUnsafeMutableBytes { bytes throws(TLSError) in try decrypt(bytes, body: body) }
        defer { ciphertext.removeFirst(Self.headerLength + body) }
        if content.type == ContentType.applicationData, !content.range.isEmpty, !messages.isInMessage {
            patience = min(patience + 1, Self.fullPatience)
            return .plaintext(ciphertext.share(content.range))
        }
        return try handle(content.type, ciphertext.bytes.extracting(content.range))
    }

    /// The length of what follows the header; nil: the header is not here yet.
    @inline(__always)
    private func bodyLength(_ record: RawSpan) throws(TLSError) -> Int? {
        guard record.byteCount >= Self.headerLength else { return nil }
        let type = record.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt8.self)
        let length = Int(UInt16(bigEndian: record.unsafeLoadUnaligned(fromByteOffset: 3, as: UInt16.self)))
        guard type == ContentType.applicationData else {
            throw .peer("the other side sent a record of type \(type) that is not encrypted", .unexpectedMessage)
        }
        guard length <= Self.maxBody else {
            throw .peer("the other side sent a record of \(length) bytes, which is too long", .recordOverflow)
        }
        guard length >= Self.trailerLength else {
            throw .peer("the other side sent a record of \(length) bytes, which is too short", .badRecordMAC)
        }
        return length
    }

    @inline(__always)
    private func decrypt(_ bytes: UnsafeMutableRawBufferPointer, body: Int) throws(TLSError) -> Content {
        guard receiving.sequence < .max else {
            throw .peer("the other side sent too many records with one key", .unexpectedMessage)
        }
        guard let start = bytes.baseAddress, receiving.open(start, body: body) else {
            _ = OpenSSLErrors()
            throw .peer("a record was altered on the way, or is not for this connection", .badRecordMAC)
        }
        return try unpad(start, end: Self.headerLength + body - RecordCipher.tagLength)
    }

    /// The content type is the last byte that is not zero; what stands behind it is padding (RFC 8446, 5.4).
    @inline(__always)
    private func unpad(_ start: UnsafeMutableRawPointer, end: Int) throws(TLSError) -> Content {
        guard end <= Self.headerLength + Self.maxPlaintext + 1 else {
            throw .peer("the other side sent a record with too much in it", .recordOverflow)
        }
        var last = end - 1
        while last >= Self.headerLength {
            let type = start.load(fromByteOffset: last, as: UInt8.self)
            if type != 0 { return Content(type: type, range: Self.headerLength..<last) }
            last -= 1
        }
        throw .peer("the other side sent a record without a type", .unexpectedMessage)
    }
}

// MARK: - Records that carry no data

extension RecordLayer {
    private func handle(_ type: UInt8, _ content: RawSpan) throws(TLSError) -> Opened {
        patience -= Self.quietCost
        guard patience >= 0 else {
            throw .peer("the other side sends records without data, and too many of them", .unexpectedMessage)
        }
        switch type {
        case ContentType.alert: return try handleAlert(content)
        case ContentType.handshake:
            try handleMessages(content)
            return .nothing
        case ContentType.applicationData where !messages.isInMessage: return .nothing
        case ContentType.applicationData:
            throw .peer("the other side sent data within a handshake message", .unexpectedMessage)
        default: throw .peer("the other side sent a record of unknown type \(type)", .unexpectedMessage)
        }
    }

    private func handleAlert(_ content: RawSpan) throws(TLSError) -> Opened {
        guard content.byteCount == 2 else {
            throw .peer("the other side sent an alert of \(content.byteCount) bytes", .decodeError)
        }
        let alert = TLSAlert(rawValue: content.unsafeLoadUnaligned(fromByteOffset: 1, as: UInt8.self))
        switch alert {
        case .closeNotify:
            noteReceivedClose()
            return .closeNotify
        case .userCanceled: return .nothing  // close_notify follows (RFC 8446, 6.1)
        default: throw .received(alert)
        }
    }

    private func handleMessages(_ content: RawSpan) throws(TLSError) {
        guard content.byteCount > 0 else {
            throw .peer("the other side sent an empty handshake record", .unexpectedMessage)
        }
        guard case .keyUpdate(let requested) = try messages.read(content, role: role) else { return }
        try receiving.advanceKeys()
        if requested { owesKeyUpdate = true }
    }
}
