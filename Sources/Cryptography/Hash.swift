// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Primitives

/// The hash functions that our protocols name. All of them work on whatever thread they are called on and keep nothing.
public enum HashFunction: Sendable, CaseIterable {
    /// For RFCs that fix it (STUN's MESSAGE-INTEGRITY); nothing new rests on it.
    case sha1
    case sha256
    case sha384

    /// Bytes of a digest.
    public var byteCount: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        case .sha384: 48
        }
    }

    /// The digest of `bytes` (FIPS 180-4).
    public func digest(of bytes: RawSpan) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { digest, count in
            let done = bytes.withUnsafeBytes {
                EVP_Digest($0.baseAddress, $0.count, digest.baseAddress, nil, algorithm, nil)
            }
            requireLibcrypto(done == 1, "a digest")
            count = byteCount
        }
    }

    var algorithm: OpaquePointer? {
        switch self {
        case .sha1: EVP_sha1()
        case .sha256: EVP_sha256()
        case .sha384: EVP_sha384()
        }
    }
}

/// SHA-256 in one call.
public enum SHA256 {
    public static let byteCount = 32
    /// The 32 bytes of the digest.
    public static func hash(_ bytes: RawSpan) -> [UInt8] { HashFunction.sha256.digest(of: bytes) }
    public static func hash(_ bytes: [UInt8]) -> [UInt8] { hash(bytes.rawSpan) }
}

/// SHA-1 in one call, for the RFCs that ask for it; not for anything that must withstand collisions.
public enum SHA1 {
    public static let byteCount = 20
    /// The 20 bytes of the digest.
    public static func hash(_ bytes: RawSpan) -> [UInt8] { HashFunction.sha1.digest(of: bytes) }
    public static func hash(_ bytes: [UInt8]) -> [UInt8] { hash(bytes.rawSpan) }
}

/// A libcrypto that cannot hash or give random bytes (no memory, no provider) leaves nothing that could safely go on:
/// no input reaches this, and no answer but the right one may be returned.
func requireLibcrypto(_ done: Bool, _ what: StaticString) {
    precondition(done, "libcrypto did not deliver \(what)")
}
