// SPDX-License-Identifier: Apache-2.0

import CIPsecMB
import COpenSSL

/// An AEAD (RFC 5116) with one key for one direction, by the faster of the libraries that have it: AES-GCM by
/// libipsec-mb where it is installed and the processor has what it is written for, all else by OpenSSL.
/// Nothing here allocates but `install`.
struct AEADContext: ~Copyable {
    enum Direction { case seals, opens }
    enum Library: CaseIterable { case fastest, openSSL }

    static let nonceLength = 12
    static let tagLength = 16

    private let direction: Direction
    private let library: Library
    // One of the two is there as soon as there is a key. Both wipe it when they go.
    private var evp: OpaquePointer?
    private var gcm: OpaquePointer?

    /// Without a key, with which nothing can be sealed or opened.
    init(_ direction: Direction, by library: Library = .fastest) {
        self.direction = direction
        self.library = library
    }

    deinit {
        EVP_CIPHER_CTX_free(evp)
        ci_gcm_free(gcm)
    }

    /// What does AES-GCM here, as a version is written: for a log.
    static var libraryOfAESGCM: String {
        ci_library().map { String(cString: $0) } ?? String(cString: OpenSSL_version(OPENSSL_VERSION))
    }

    /// Takes a key in place of the last one.
    mutating func install(_ suite: CipherSuite, key: borrowing SecretBytes) throws(TLSError) {
        ci_gcm_free(gcm)
        gcm = suite.isAESGCM && library == .fastest ? ci_gcm_new(key.pointer, key.count) : nil
        guard gcm == nil else { return }
        evp = evp ?? EVP_CIPHER_CTX_new()
        guard let evp else { throw .local("no memory for a cipher") }
        let encrypts: Int32 = direction == .seals ? 1 : 0
        guard EVP_CipherInit_ex(evp, suite.cipher, nil, key.pointer, nil, encrypts) == 1 else {
            throw .local("OpenSSL: \(OpenSSLErrors().text)")
        }
    }
}

// MARK: - Sealing

extension AEADContext {
    /// Begins a record with its additional data, which is the header. False: OpenSSL failed.
    @inline(__always)
    func begin(nonce: UnsafePointer<UInt8>, header: UnsafeRawPointer, headerLength: Int) -> Bool {
        if let gcm {
            ci_gcm_begin(gcm, nonce, header, headerLength)
            return true
        }
        var count: Int32 = 0
        return EVP_EncryptInit_ex(evp, nil, nil, nil, nonce) == 1
            && EVP_EncryptUpdate(
                evp, nil, &count, header.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: headerLength))
                == 1
    }

    /// Encrypts the record's next bytes; source and destination may be the same, but not overlap otherwise.
    @inline(__always)
    func encrypt(_ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int) -> Bool {
        if let gcm {
            ci_gcm_encrypt(gcm, source, destination, count)
            return true
        }
        var written: Int32 = 0
        return EVP_EncryptUpdate(
            evp, destination.assumingMemoryBound(to: UInt8.self), &written,
            source.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: count)) == 1
    }

    /// Ends the record with its tag.
    @inline(__always)
    func finish(tag: UnsafeMutableRawPointer) -> Bool {
        if let gcm {
            ci_gcm_finish(gcm, tag)
            return true
        }
        var written: Int32 = 0
        return EVP_EncryptFinal_ex(evp, tag.assumingMemoryBound(to: UInt8.self), &written) == 1
            && EVP_CIPHER_CTX_get_tag_fn(evp, tag, Self.tagLength) == 1
    }
}

// MARK: - Opening

extension AEADContext {
    /// Decrypts `count` bytes in place; the tag lies behind them. False: they are not what was sealed.
    @inline(__always)
    func open(
        nonce: UnsafePointer<UInt8>, header: UnsafeRawPointer, headerLength: Int, bytes: UnsafeMutableRawPointer,
        count: Int
    ) -> Bool {
        let tag = bytes + count
        if let gcm { return ci_gcm_open(gcm, nonce, header, headerLength, bytes, count, tag) }
        let text = bytes.assumingMemoryBound(to: UInt8.self)
        var written: Int32 = 0
        return EVP_DecryptInit_with_tag_fn(evp, nonce, tag, Self.tagLength) == 1
            && EVP_DecryptUpdate(
                evp, nil, &written, header.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: headerLength))
                == 1
            && EVP_DecryptUpdate(evp, text, &written, text, Int32(truncatingIfNeeded: count)) == 1
            && EVP_DecryptFinal_ex(evp, text + count, &written) == 1
    }
}
