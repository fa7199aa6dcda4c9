// SPDX-License-Identifier: Apache-2.0

/// Something ended before what it said it holds.
public struct Truncated: Error, Equatable {
    public init() {}
}

/// A cursor over bytes that cannot overrun: every read checks what is left, and none of them traps.
/// Numbers are big-endian, as on the wire.
public struct ByteReader: ~Escapable {
    private let bytes: RawSpan
    /// Bytes read so far.
    public private(set) var position = 0

    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan) { self.bytes = bytes }

    /// Bytes not read yet.
    public var remaining: Int { bytes.byteCount - position }
    public var isAtEnd: Bool { remaining == 0 }

    @_lifetime(self: copy self)
    public mutating func readUInt8() throws(Truncated) -> UInt8 { try read(UInt8.self) }
    @_lifetime(self: copy self)
    public mutating func readUInt16() throws(Truncated) -> UInt16 { UInt16(bigEndian: try read(UInt16.self)) }
    @_lifetime(self: copy self)
    public mutating func readUInt32() throws(Truncated) -> UInt32 { UInt32(bigEndian: try read(UInt32.self)) }
    @_lifetime(self: copy self)
    public mutating func readUInt64() throws(Truncated) -> UInt64 { UInt64(bigEndian: try read(UInt64.self)) }
    @_lifetime(self: copy self)
    public mutating func readUInt128() throws(Truncated) -> UInt128 {
        let high = try readUInt64()
        return UInt128(high) << 64 | UInt128(try readUInt64())
    }

    /// The next `count` bytes, without a copy.
    @_lifetime(copy self)
    public mutating func readSpan(_ count: Int) throws(Truncated) -> RawSpan {
        guard count >= 0, count <= remaining else { throw Truncated() }
        defer { position += count }
        return bytes.extracting(position..<position + count)
    }

    /// The next `count` bytes, copied.
    @_lifetime(self: copy self)
    public mutating func readBytes(_ count: Int) throws(Truncated) -> [UInt8] {
        let span = try readSpan(count)
        return span.withUnsafeBytes { Array($0) }
    }

    @_lifetime(self: copy self)
    private mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) throws(Truncated) -> T {
        guard remaining >= MemoryLayout<T>.size else { throw Truncated() }
        defer { position += MemoryLayout<T>.size }
        return bytes.unsafeLoadUnaligned(fromByteOffset: position, as: T.self)
    }
}
