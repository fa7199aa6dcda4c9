// SPDX-License-Identifier: Apache-2.0

/// TLS 1.3's record layer after the handshake (RFC 8446, 5.1 to 5.5), as a kernel's TLS does it: the keys come from
/// outside, the bytes stay where they are. Sealing and opening are in files of their own.
final class RecordLayer {
    /// The content types of RFC 8446, 5.1.
    enum ContentType {
        static let changeCipherSpec: UInt8 = 20
        static let alert: UInt8 = 21
        static let handshake: UInt8 = 22
        static let applicationData: UInt8 = 23
    }

    static let headerLength = RecordCipher.headerLength
    /// Plaintext bytes that a record may have (RFC 8446, 5.1).
    static let maxPlaintext = 16_384
    /// Bytes that a record's ciphertext may have behind its header (RFC 8446, 5.2).
    static let maxBody = maxPlaintext + 256
    /// The content type and the tag, behind the plaintext.
    static let trailerLength = 1 + RecordCipher.tagLength
    static let overhead = headerLength + trailerLength

    let role: TLSContext.Role
    var sending: RecordCipher
    var receiving: RecordCipher

    // Sealing
    /// The record that is being put together, as long as ``recordIsOpen``: it lies in the output's room and is not
    /// counted there before its end.
    var recordIsOpen = false
    /// Whether its bytes are encrypted already: its length was known before its end.
    var recordIsEncrypted = false
    /// Plaintext bytes in it, and that may be in it.
    var recordCount = 0
    var recordLimit = 0
    /// Records after which the sending key is changed. RFC 8446, 5.5 allows 2^24.5 full ones with AES-GCM.
    var recordsPerKey: UInt64 = 1 << 24
    /// The peer changed its key and asked us to change ours (RFC 8446, 4.6.3).
    var owesKeyUpdate = false
    var hasSentClose = false

    // Opening
    var hasReceivedClose = false
    var messages = PostHandshakeReader()
    /// Runs down with records that carry no data, and recovers with those that do.
    var patience = RecordLayer.fullPatience

    /// Why nothing can be sealed or opened any more.
    var failure: TLSError?

    init(role: TLSContext.Role, sending: consuming RecordCipher, receiving: consuming RecordCipher) {
        self.role = role
        self.sending = sending
        self.receiving = receiving
    }

    var canSeal: Bool { failure == nil && !hasSentClose }
}
