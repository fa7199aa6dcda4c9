// SPDX-License-Identifier: Apache-2.0

/// Builds a message of big-endian numbers and byte strings.
public struct ByteWriter {
    public private(set) var bytes: [UInt8] = []

    public init(reserving capacity: Int = 64) { bytes.reserveCapacity(capacity) }

    public var count: Int { bytes.count }

    public mutating func write(_ value: UInt8) { bytes.append(value) }
    public mutating func write(_ value: UInt16) { writeBigEndian(value) }
    public mutating func write(_ value: UInt32) { writeBigEndian(value) }
    public mutating func write(_ value: UInt64) { writeBigEndian(value) }
    public mutating func write(_ value: UInt128) { writeBigEndian(value) }
    public mutating func write(_ value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }
    public mutating func write(_ value: RawSpan) { bytes.append(copying: value) }

    /// A byte string behind its length in 16 bits; what is longer than that is cut.
    public mutating func writeString16(_ value: some Collection<UInt8>) {
        let kept = value.prefix(Int(UInt16.max))
        write(UInt16(kept.count))
        write(kept)
    }

    private mutating func writeBigEndian<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Hands the bytes of a number, as they lie in memory, to `body`.
@inline(__always)
public func withSpan<T: FixedWidthInteger & BitwiseCopyable, R>(of value: T, _ body: (RawSpan) -> R) -> R {
    withUnsafeBytes(of: value) { body($0.bytes) }
}

extension Array<UInt8> {
    /// Appends a copy of the span's bytes.
    public mutating func append(copying bytes: RawSpan) { bytes.withUnsafeBytes { append(contentsOf: $0) } }

    /// The array's bytes as a raw span, for readers.
    public var rawSpan: RawSpan {
        @_lifetime(borrow self)
        get { _overrideLifetime(span.bytes, borrowing: self) }
    }
}
