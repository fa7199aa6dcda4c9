// SPDX-License-Identifier: Apache-2.0

import Primitives

/// Sealing gathers parts into a record. A record's header is additional data of its cipher and holds its length, so
/// nothing can be encrypted before that is known. It is known early for the record that counts, the full one: the part
/// that fills it is encrypted from where it lies. What does not fill a record is copied and encrypted at its end, which
/// is cheaper than a call of the cipher for each small part.
extension RecordLayer {
    /// A part smaller than this is copied even where it fills the record.
    private static let smallPart = 512
    private static let keyUpdateLength = overhead + PostHandshakeReader.keyUpdateMessage.count

    var recordRoom: Int { recordLimit - recordCount }

    @inline(__always)
    func beginRecord(in output: inout OutputBuffer) -> Bool {
        precondition(!recordIsOpen, "a record is ended before the next begins")
        guard canSeal else { return false }
        if owesKeyUpdate || sending.sequence >= recordsPerKey {
            guard output.room > Self.keyUpdateLength + Self.overhead, updateKey(in: &output) else { return false }
        }
        let room = output.room - Self.overhead
        guard room > 0 else { return false }
        recordLimit = min(room, Self.maxPlaintext)
        recordIsOpen = true
        return true
    }

    @inline(__always)
    func seal(_ part: RawSpan, into output: inout OutputBuffer) {
        precondition(recordIsOpen && part.byteCount <= recordRoom, "a part fits the record")
        let fills = part.byteCount == recordRoom && part.byteCount >= Self.smallPart
        output.withUnsafeRoom { room in
            part.withUnsafeBytes { bytes in
                guard let start = room.baseAddress, let source = bytes.baseAddress else { return }
                if fills {
                    encrypt(filling: source, count: bytes.count, at: start)
                } else {
                    (start + Self.headerLength + recordCount).copyMemory(from: source, byteCount: bytes.count)
                }
            }
            return 0
        }
        recordCount += part.byteCount
    }

    @inline(__always)
    func endRecord(in output: inout OutputBuffer) {
        precondition(recordIsOpen, "a record is begun before it is ended")
        let count = recordCount
        let isEncrypted = recordIsEncrypted
        recordIsOpen = false
        recordIsEncrypted = false
        recordCount = 0
        recordLimit = 0
        guard count > 0, canSeal else { return }
        output.withUnsafeRoom { room in
            guard let start = room.baseAddress else { return 0 }
            let isWhole =
                isEncrypted
                ? endEncrypted(at: start, count: count)
                : encrypt(at: start, count: count, type: ContentType.applicationData)
            return isWhole ? count + Self.overhead : 0
        }
    }

    /// Encrypts all of a record but its end: the bytes that wait in it, and the part that fills it.
    private func encrypt(filling part: UnsafeRawPointer, count: Int, at start: UnsafeMutableRawPointer) {
        writeHeader(at: start, count: recordLimit)
        let waiting = start + Self.headerLength
        recordIsEncrypted = true
        let isDone =
            sending.begin(header: start)
            && (recordCount == 0 || sending.encrypt(waiting, to: waiting, count: recordCount))
            && sending.encrypt(part, to: waiting + recordCount, count: count)
        if !isDone { failSealing() }
    }

    private func endEncrypted(at start: UnsafeMutableRawPointer, count: Int) -> Bool {
        let end = start + Self.headerLength + count
        end.storeBytes(of: ContentType.applicationData, as: UInt8.self)
        guard sending.encrypt(end, to: end, count: 1), sending.finish(tag: end + 1) else { return failSealing() }
        return true
    }

    /// Seals a record whose plaintext lies where its ciphertext goes.
    @discardableResult @inline(__always)
    private func encrypt(at start: UnsafeMutableRawPointer, count: Int, type: UInt8) -> Bool {
        writeHeader(at: start, count: count)
        let body = start + Self.headerLength
        body.storeBytes(of: type, toByteOffset: count, as: UInt8.self)
        guard sending.begin(header: start), sending.encrypt(body, to: body, count: count + 1),
            sending.finish(tag: body + count + 1)
        else { return failSealing() }
        return true
    }

    /// Type 23 whatever is inside, version 0x0303, and the length of what follows (RFC 8446, 5.2).
    @inline(__always)
    private func writeHeader(at start: UnsafeMutableRawPointer, count: Int) {
        let length = UInt16(truncatingIfNeeded: count + Self.trailerLength)
        start.storeBytes(of: ContentType.applicationData, as: UInt8.self)
        start.storeBytes(of: UInt16(0x0303), toByteOffset: 1, as: UInt16.self)
        start.storeBytes(of: length.bigEndian, toByteOffset: 3, as: UInt16.self)
    }

    @discardableResult
    private func failSealing() -> Bool {
        fail(.local("OpenSSL could not encrypt (\(OpenSSLErrors().text))"))
        return false
    }
}

// MARK: - Records of the protocol itself

extension RecordLayer {
    /// Tells the peer that the next record has the next key, and goes on to it (RFC 8446, 4.6.3).
    private func updateKey(in output: inout OutputBuffer) -> Bool {
        guard sealMessage(PostHandshakeReader.keyUpdateMessage, type: ContentType.handshake, into: &output) else {
            return false
        }
        owesKeyUpdate = false
        do {
            try sending.advanceKeys()
            return true
        } catch {
            fail(error)
            return false
        }
    }

    /// Seals close_notify, or the alert that belongs to the failure. Nothing can be sealed after it.
    func close(into output: inout OutputBuffer) -> Bool {
        precondition(!recordIsOpen, "a record is ended before the connection")
        if case .alert = failure?.blame { return true }
        guard !hasSentClose, !suiteName.isEmpty else { return true }
        let alert = failure.map { $0.alertToSend ?? .internalError } ?? .closeNotify
        // A fatal alert has level 2, close_notify level 1; nobody reads the level (RFC 8446, 6).
        guard sealMessage([alert == .closeNotify ? 1 : 2, alert.rawValue], type: ContentType.alert, into: &output)
        else {
            return false
        }
        noteSentClose()
        return true
    }

    private func sealMessage(_ message: [UInt8], type: UInt8, into output: inout OutputBuffer) -> Bool {
        guard output.room >= Self.overhead + message.count else { return false }
        let written = output.withUnsafeRoom { room in
            guard let start = room.baseAddress else { return 0 }
            message.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: room[Self.headerLength...]).copyMemory(from: $0)
            }
            return encrypt(at: start, count: message.count, type: type) ? Self.overhead + message.count : 0
        }
        return written > 0
    }
}
