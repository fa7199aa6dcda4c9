// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Primitives

/// Keyed hashing (RFC 2104).
public enum HMAC {
    /// The code of `message` under `key`: as long as a digest of `function`.
    public static func code(for message: RawSpan, key: RawSpan, using function: HashFunction = .sha256) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: function.byteCount) { code, count in
            let done = message.withUnsafeBytes { message in
                key.withUnsafeBytes { key in
                    // A null key means "the one before" to libcrypto, so that an empty one still needs an address.
                    withUnsafePointer(to: UInt8(0)) { empty in
                        COpenSSL.HMAC(
                            function.algorithm, key.baseAddress ?? UnsafeRawPointer(empty), Int32(clamping: key.count),
                            message.assumingMemoryBound(to: UInt8.self).baseAddress, message.count, code.baseAddress,
                            nil)
                    }
                }
            }
            requireLibcrypto(done != nil, "an HMAC")
            count = function.byteCount
        }
    }

    public static func code(for message: [UInt8], key: [UInt8], using function: HashFunction = .sha256) -> [UInt8] {
        code(for: message.rawSpan, key: key.rawSpan, using: function)
    }

    /// Whether `code` is the message's, told in a time that does not depend on where the two differ.
    public static func isValid(
        _ code: [UInt8], for message: [UInt8], key: [UInt8], using function: HashFunction = .sha256
    ) -> Bool {
        constantTimeEqual(code, HMAC.code(for: message, key: key, using: function))
    }
}

/// Compares secrets without telling by the time it takes where they differ. Their lengths are no secret.
public func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
}
