// SPDX-License-Identifier: Apache-2.0

/// The records' cipher in one direction: key, nonce and sequence number (RFC 8446, 5.2, 5.3 and 7.3).
///
/// The AEAD is made once and keyed once; a record costs it a nonce, the header as additional data, the bytes
/// and a tag. Nothing here allocates but ``install(_:secret:)`` and ``advanceKeys()``.
struct RecordCipher: ~Copyable {
    static let tagLength = AEADContext.tagLength
    /// Bytes before the ciphertext: type, version, length.
    static let headerLength = 5

    private var aead: AEADContext
    private var suite: CipherSuite?
    /// The traffic secret: from it comes the next one.
    private var secret = SecretBytes(count: 0)
    private let nonce = SecretBytes(count: AEADContext.nonceLength)
    /// The last 64 bits of the static nonce, to which the sequence number is added (exclusive or).
    private var nonceTail: UInt64 = 0
    /// The number of the next record. Tests set it.
    var sequence: UInt64 = 0

    /// Without a key, with which nothing can be sealed or opened.
    init(_ direction: AEADContext.Direction) { aead = AEADContext(direction) }

    /// Takes the traffic secret that the handshake has agreed on.
    mutating func install(_ suite: CipherSuite, secret: consuming SecretBytes) throws(TLSError) {
        self.suite = suite
        self.secret = secret
        try installKeys(of: suite)
    }

    /// Goes on to the next generation of keys (RFC 8446, 7.2).
    mutating func advanceKeys() throws(TLSError) {
        guard let suite else { throw .local("there is no key yet") }
        secret = try suite.expandLabel("traffic upd", from: secret, count: suite.hashLength)
        try installKeys(of: suite)
    }

    private mutating func installKeys(of suite: CipherSuite) throws(TLSError) {
        let key = try suite.expandLabel("key", from: secret, count: suite.keyLength)
        let iv = try suite.expandLabel("iv", from: secret, count: AEADContext.nonceLength)
        nonce.pointer.update(from: iv.pointer, count: AEADContext.nonceLength)
        nonceTail = UnsafeRawPointer(iv.pointer).loadUnaligned(fromByteOffset: 4, as: UInt64.self).bigEndian
        sequence = 0
        try aead.install(suite, key: key)
    }

    /// The nonce of the next record in ``nonce``.
    @inline(__always)
    private mutating func advanceNonce() {
        UnsafeMutableRawPointer(nonce.pointer)
            .storeBytes(of: (nonceTail ^ sequence).bigEndian, toByteOffset: 4, as: UInt64.self)
        sequence &+= 1
    }

    /// Begins a record whose header is written already. False: OpenSSL failed, and nothing may be sent any more.
    @inline(__always)
    mutating func begin(header: UnsafeRawPointer) -> Bool {
        advanceNonce()
        return aead.begin(nonce: nonce.pointer, header: header, headerLength: Self.headerLength)
    }

    /// Encrypts the record's next bytes; source and destination may be the same, but not overlap otherwise.
    @inline(__always)
    func encrypt(_ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int) -> Bool {
        aead.encrypt(source, to: destination, count: count)
    }

    /// Ends the record with its tag of 16 bytes.
    @inline(__always)
    func finish(tag: UnsafeMutableRawPointer) -> Bool { aead.finish(tag: tag) }

    /// Decrypts a record in place: `body` bytes behind the header, the last 16 of them the tag.
    /// False: it is not what the peer sent.
    @inline(__always)
    mutating func open(_ record: UnsafeMutableRawPointer, body: Int) -> Bool {
        advanceNonce()
        return aead.open(
            nonce: nonce.pointer, header: record, headerLength: Self.headerLength, bytes: record + Self.headerLength,
            count: body - Self.tagLength)
    }
}
