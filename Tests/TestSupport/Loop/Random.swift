// SPDX-License-Identifier: Apache-2.0

import Glibc
import Primitives

/// The same numbers from the same seed (SplitMix64).
public struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    public init(_ seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Bytes that nobody would send by chance.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}

/// Endless bytes of which any part can be made, and checked, by its place: random bytes of prime length again and again.
public struct Pattern: Sendable {
    private static let period = 65_521
    private static let longest = 128 << 10
    private let bytes: [UInt8]

    public init(seed: UInt64) {
        var random = SeededRandom(seed)
        let once = random.bytes(Pattern.period)
        bytes = once + once + once
    }

    /// The bytes from a place on, up to 64 KiB.
    public func slice(at place: Int, count: Int, from pool: BufferPool) -> Slice {
        let start = place % Pattern.period
        return pool.lease(copying: bytes.span.bytes.extracting(start..<start + count))
    }

    /// Whether these are the bytes from that place on.
    public func matches(_ received: RawSpan, at place: Int) -> Bool {
        let start = place % Pattern.period
        guard received.byteCount <= Pattern.longest else { return false }
        let expected = bytes.span.bytes.extracting(start..<start + received.byteCount)
        return expected.withUnsafeBytes { a in
            received.withUnsafeBytes { b in
                guard let a = a.baseAddress, let b = b.baseAddress else { return received.isEmpty }
                return memcmp(a, b, received.byteCount) == 0
            }
        }
    }
}
