// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Primitives

/// An Ed25519 key pair (RFC 8032). Copies share the one key in libcrypto's memory, which is wiped when the last goes.
/// Safe to use on several threads: nothing about it ever changes.
public struct PrivateKey: Sendable {
    public static let byteCount = 32
    public static let signatureByteCount = 64

    /// The 32 bytes of the public key (RFC 8032, 5.1.5).
    public let publicKey: [UInt8]
    private let key: LibcryptoKey

    /// A new key from the system's randomness.
    public static func generate() -> PrivateKey {
        while true {
            if let key = PrivateKey(seed: SecureRandom.bytes(byteCount)) { return key }
        }
    }

    /// The key of a 32-byte seed (RFC 8032, 5.1.5); nil where the length is another.
    public init?(seed: [UInt8]) {
        guard seed.count == PrivateKey.byteCount,
            let pointer = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count)
        else { return nil }
        self.init(LibcryptoKey(pointer))
    }

    init?(_ key: LibcryptoKey) {
        guard let publicKey = key.rawPublicKey else { return nil }
        self.key = key
        self.publicKey = publicKey
    }

    /// The 32 secret bytes. Whoever takes them has to keep them.
    public var seed: [UInt8] { key.rawPrivateKey }

    /// The signature of `message`: 64 bytes, always the same for the same key and message.
    public func signature(for message: [UInt8]) -> [UInt8] {
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        return [UInt8](unsafeUninitializedCapacity: PrivateKey.signatureByteCount) { signature, count in
            count = PrivateKey.signatureByteCount
            let done =
                EVP_DigestSignInit(context, nil, nil, nil, key.pointer) == 1
                && EVP_DigestSign(context, signature.baseAddress, &count, message, message.count) == 1
            requireLibcrypto(done, "a signature")
        }
    }
}

extension PrivateKey: CustomStringConvertible {
    /// Says what it is and nothing more, so that no log ever holds a key.
    public var description: String { "PrivateKey(Ed25519)" }
}

/// Whether `signature` is the signature of `message` under a raw Ed25519 public key; wrong lengths are simply false.
public func isValidSignature(_ signature: [UInt8], for message: [UInt8], publicKey: [UInt8]) -> Bool {
    guard let pointer = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, publicKey, publicKey.count) else {
        ERR_clear_error()
        return false
    }
    let key = LibcryptoKey(pointer)
    let context = EVP_MD_CTX_new()
    defer { EVP_MD_CTX_free(context) }
    let valid =
        EVP_DigestVerifyInit(context, nil, nil, nil, key.pointer) == 1
        && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    // A refusal leaves a line in the thread's error queue, where the next reader would take it for its own.
    if !valid { ERR_clear_error() }
    return valid
}

/// Owns one EVP_PKEY. libcrypto cleanses a private key's memory when it frees it.
final class LibcryptoKey: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) { self.pointer = pointer }
    deinit { EVP_PKEY_free(pointer) }

    var isEd25519: Bool { EVP_PKEY_get_id(pointer) == EVP_PKEY_ED25519 }
    /// The short name of the key's algorithm, for messages: "RSA", "EC", "X25519".
    var algorithm: String { EVP_PKEY_get0_type_name(pointer).map { String(cString: $0) } ?? "unknown" }

    /// Nil for keys that have no raw form.
    var rawPublicKey: [UInt8]? { raw(EVP_PKEY_get_raw_public_key) }
    var rawPrivateKey: [UInt8] { raw(EVP_PKEY_get_raw_private_key) ?? [] }

    private func raw(
        _ get: (OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<Int>?) -> Int32
    ) -> [UInt8]? {
        var count = PrivateKey.byteCount
        var bytes = [UInt8](repeating: 0, count: count)
        return get(pointer, &bytes, &count) == 1 && count == PrivateKey.byteCount ? bytes : nil
    }
}
