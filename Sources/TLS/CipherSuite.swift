// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// One of TLS 1.3's cipher suites (RFC 8446, B.4), with OpenSSL's algorithms looked up once.
final class CipherSuite {
    /// The name in OpenSSL and in the RFC.
    let name: String
    /// The number on the wire.
    let id: UInt16
    let keyLength: Int
    let isAESGCM: Bool
    /// Bytes of the hash, and of a traffic secret.
    let hashLength: Int
    /// An `EVP_CIPHER`.
    let cipher: OpaquePointer
    /// An `EVP_MD`.
    let digest: OpaquePointer

    /// In the order of preference: with AES in hardware AES-128-GCM is the fastest.
    static func all() throws(TLSError) -> [CipherSuite] {
        [
            try CipherSuite("TLS_AES_128_GCM_SHA256", 0x1301, "AES-128-GCM", keyLength: 16, "SHA2-256", hashLength: 32),
            try CipherSuite("TLS_AES_256_GCM_SHA384", 0x1302, "AES-256-GCM", keyLength: 32, "SHA2-384", hashLength: 48),
            try CipherSuite(
                "TLS_CHACHA20_POLY1305_SHA256", 0x1303, "ChaCha20-Poly1305", keyLength: 32, "SHA2-256", hashLength: 32),
        ]
    }

    private init(
        _ name: String, _ id: UInt16, _ algorithm: String, keyLength: Int, _ hash: String, hashLength: Int
    ) throws(TLSError) {
        guard let cipher = EVP_CIPHER_fetch(nil, algorithm, nil) else {
            throw .local("OpenSSL has no \(algorithm) (\(OpenSSLErrors().text))")
        }
        guard let digest = EVP_MD_fetch(nil, hash, nil) else {
            EVP_CIPHER_free(cipher)
            throw .local("OpenSSL has no \(hash) (\(OpenSSLErrors().text))")
        }
        self.name = name
        self.id = id
        self.keyLength = keyLength
        isAESGCM = algorithm.hasSuffix("-GCM")
        self.hashLength = hashLength
        self.cipher = cipher
        self.digest = digest
    }

    deinit {
        EVP_CIPHER_free(cipher)
        EVP_MD_free(digest)
    }
}

// MARK: - Key schedule

extension CipherSuite {
    /// HKDF-Expand-Label with an empty context (RFC 8446, 7.1) for at most one block of the hash, which is all that
    /// TLS 1.3's records need: HKDF-Expand's first block is HMAC(secret, info || 1) (RFC 5869, 2.3).
    func expandLabel(_ label: StaticString, from secret: borrowing SecretBytes, count: Int) throws(TLSError)
        -> SecretBytes
    {
        var info: [UInt8] = [0, UInt8(truncatingIfNeeded: count)]
        info.append(UInt8(truncatingIfNeeded: 6 + label.utf8CodeUnitCount))
        info.append(contentsOf: "tls13 ".utf8)
        label.withUTF8Buffer { info.append(contentsOf: $0) }
        info.append(0)
        info.append(1)
        let block = SecretBytes(count: Int(EVP_MAX_MD_SIZE))
        let done = HMAC(digest, secret.pointer, Int32(secret.count), info, info.count, block.pointer, nil)
        guard done != nil, count <= hashLength else { throw .local("OpenSSL: \(OpenSSLErrors().text)") }
        let output = SecretBytes(count: count)
        output.pointer.update(from: block.pointer, count: count)
        return output
    }
}
