// SPDX-License-Identifier: Apache-2.0

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

/// A checksum that can be fed bit by bit (FNV-1a, 64 bits).
public struct Checksum: Equatable {
    public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325
    public private(set) var count = 0

    public init() {}

    public init(_ bytes: [UInt8]) {
        self.init()
        add(bytes.span.bytes)
    }

    public mutating func add(_ bytes: RawSpan) {
        count += bytes.byteCount
        value = bytes.withUnsafeBytes { $0.reduce(value) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 } }
    }
}
