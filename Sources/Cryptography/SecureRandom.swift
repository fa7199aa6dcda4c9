// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// Random numbers that nobody can foretell, from libcrypto's generator; safe on every thread and after a fork.
public struct SecureRandom: RandomNumberGenerator, Sendable {
    public init() {}

    public mutating func next() -> UInt64 {
        var value: UInt64 = 0
        withUnsafeMutableBytes(of: &value) { SecureRandom.fill($0) }
        return value
    }

    /// `count` fresh random bytes.
    public static func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
            fill(UnsafeMutableRawBufferPointer(bytes))
            filled = count
        }
    }

    private static func fill(_ bytes: UnsafeMutableRawBufferPointer) {
        let done = RAND_bytes(bytes.assumingMemoryBound(to: UInt8.self).baseAddress, Int32(clamping: bytes.count))
        requireLibcrypto(done == 1, "random bytes")
    }
}
