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

    /// Whether the keys are here, nothing has failed, and the direction is not closed.
    private(set) var canSeal = false
    private(set) var canOpen = false
    /// Why nothing can be sealed or opened any more.
    private(set) var failure: TLSError?
    private(set) var hasSentClose = false
    private(set) var hasReceivedClose = false
    /// The suite agreed on, once it is.
    private(set) var suiteName = ""

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

    // Opening
    var messages = PostHandshakeReader()
    /// Runs down with records that carry no data, and recovers with those that do.
    var patience = RecordLayer.fullPatience

    init(role: TLSContext.Role) {
        self.role = role
        sending = RecordCipher(.seals)
        receiving = RecordCipher(.opens)
    }

    /// Begins with the keys of a handshake.
    func install(
        _ suite: CipherSuite, sending own: consuming SecretBytes, receiving other: consuming SecretBytes
    ) throws(TLSError) {
        try sending.install(suite, secret: own)
        try receiving.install(suite, secret: other)
        suiteName = suite.name
        canSeal = true
        canOpen = true
    }

    /// Ends everything. The first reason is the one that counts.
    func fail(_ error: TLSError) {
        failure = failure ?? error
        canSeal = false
        canOpen = false
    }

    func noteSentClose() {
        hasSentClose = true
        canSeal = false
    }

    func noteReceivedClose() {
        hasReceivedClose = true
        canOpen = false
    }
}
