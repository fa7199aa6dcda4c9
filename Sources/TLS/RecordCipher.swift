// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// The AEAD of one direction: key, nonce and sequence number (RFC 8446, 5.2, 5.3 and 7.3).
///
/// The cipher context is made once and keyed once; a record costs it a nonce, the header as additional data, the bytes
/// and a tag. Nothing here allocates but ``advanceKeys()``.
struct RecordCipher: ~Copyable {
    enum Direction { case seals, opens }

    static let nonceLength = 12
    static let tagLength = 16
    /// Bytes before the ciphertext: type, version, length.
    static let headerLength = 5

    private let direction: Direction
    private let owned: CipherContext
    private var suite: CipherSuite?
    /// The traffic secret: from it comes the next one.
    private var secret = SecretBytes(count: 0)
    private let nonce: SecretBytes
    /// The last 64 bits of the static nonce, to which the sequence number is added (exclusive or).
    private var nonceTail: UInt64 = 0
    /// The number of the next record. Tests set it.
    var sequence: UInt64 = 0

    private init(direction: Direction, context: consuming CipherContext) {
        self.direction = direction
        owned = context
        nonce = SecretBytes(count: Self.nonceLength)
    }

    /// A cipher without a key, with which nothing can be sealed or opened.
    static func unkeyed(_ direction: Direction) throws(TLSError) -> RecordCipher {
        RecordCipher(direction: direction, context: try CipherContext())
    }

    private var context: OpaquePointer { owned.pointer }

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
        let iv = try suite.expandLabel("iv", from: secret, count: Self.nonceLength)
        nonce.pointer.update(from: iv.pointer, count: Self.nonceLength)
        nonceTail = UnsafeRawPointer(iv.pointer).loadUnaligned(fromByteOffset: 4, as: UInt64.self).bigEndian
        sequence = 0
        let encrypts: Int32 = direction == .seals ? 1 : 0
        guard EVP_CipherInit_ex(context, suite.cipher, nil, key.pointer, nil, encrypts) == 1 else {
            throw .local("OpenSSL: \(OpenSSLErrors().text)")
        }
    }

    /// The nonce of the next record in ``nonce``.
    @inline(__always)
    private mutating func advanceNonce() {
        UnsafeMutableRawPointer(nonce.pointer)
            .storeBytes(of: (nonceTail ^ sequence).bigEndian, toByteOffset: 4, as: UInt64.self)
        sequence &+= 1
    }
}

// MARK: - Sealing

extension RecordCipher {
    /// Begins a record whose header is written already. False: OpenSSL failed, and nothing may be sent any more.
    @inline(__always)
    mutating func begin(header: UnsafeRawPointer) -> Bool {
        advanceNonce()
        var count: Int32 = 0
        return EVP_EncryptInit_ex(context, nil, nil, nil, nonce.pointer) == 1
            && EVP_EncryptUpdate(
                context, nil, &count, header.assumingMemoryBound(to: UInt8.self), Int32(Self.headerLength)) == 1
    }

    /// Encrypts the record's next bytes; source and destination may be the same, but not overlap otherwise.
    @inline(__always)
    func encrypt(_ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int) -> Bool {
        var written: Int32 = 0
        return EVP_EncryptUpdate(
            context, destination.assumingMemoryBound(to: UInt8.self), &written,
            source.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: count)) == 1
    }

    /// Ends the record with its tag of 16 bytes.
    @inline(__always)
    func finish(tag: UnsafeMutableRawPointer) -> Bool {
        var written: Int32 = 0
        return EVP_EncryptFinal_ex(context, tag.assumingMemoryBound(to: UInt8.self), &written) == 1
            && EVP_CIPHER_CTX_get_tag_fn(context, tag, Self.tagLength) == 1
    }
}

// MARK: - Opening

extension RecordCipher {
    /// Decrypts a record in place: `body` bytes behind the header, the last 16 of them the tag.
    /// False: it is not what the peer sent.
    @inline(__always)
    mutating func open(_ record: UnsafeMutableRawPointer, body: Int) -> Bool {
        advanceNonce()
        let bytes = (record + Self.headerLength).assumingMemoryBound(to: UInt8.self)
        let count = body - Self.tagLength
        var written: Int32 = 0
        return EVP_DecryptInit_with_tag_fn(context, nonce.pointer, bytes + count, Self.tagLength) == 1
            && EVP_DecryptUpdate(
                context, nil, &written, record.assumingMemoryBound(to: UInt8.self), Int32(Self.headerLength)) == 1
            && EVP_DecryptUpdate(context, bytes, &written, bytes, Int32(truncatingIfNeeded: count)) == 1
            && EVP_DecryptFinal_ex(context, bytes + count, &written) == 1
    }
}

/// An `EVP_CIPHER_CTX`; OpenSSL wipes its key when it goes.
private struct CipherContext: ~Copyable {
    let pointer: OpaquePointer

    init() throws(TLSError) {
        guard let pointer = EVP_CIPHER_CTX_new() else { throw .local("no memory for a cipher") }
        self.pointer = pointer
    }

    deinit { EVP_CIPHER_CTX_free(pointer) }
}
