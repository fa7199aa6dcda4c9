// SPDX-License-Identifier: Apache-2.0

/// Buffers of one capacity, taken when there is data and given back when there is none.
///
/// An idle connection holds no buffer: what keeps ten thousand of them cheap is that each read leases a buffer and the
/// last ``Slice`` of it gives it back. Confined to one loop, like everything that it hands out.
public final class BufferPool {
    /// Bytes in each buffer.
    public let capacity: Int
    /// Buffers kept for the next lease; those given back beyond it are freed.
    public var keepsAtMost: Int {
        didSet { trim(to: keepsAtMost) }
    }
    /// Buffers that are leased now. A test asserts that it returns to what it was.
    public private(set) var leased = 0

    private var idle: [UnsafeMutablePointer<Block>] = []
    /// The fewest that were idle since the last ``trimUnused(keeping:)``: so many were not needed.
    private var leastIdle = 0

    /// - Parameters:
    ///   - capacity: bytes in each buffer.
    ///   - keepsAtMost: buffers kept for the next lease.
    public init(capacity: Int, keepsAtMost: Int) {
        precondition(capacity > 0 && capacity <= 1 << 24, "a buffer has between 1 byte and 16 MiB")
        self.capacity = capacity
        self.keepsAtMost = keepsAtMost
        idle.reserveCapacity(keepsAtMost)
    }

    deinit { trim(to: 0) }

    /// A buffer that nobody else has, as a slice of its whole capacity with unspecified content.
    public func lease() -> Slice {
        let block = idle.popLast() ?? Block.allocate(capacity: capacity)
        if idle.count < leastIdle { leastIdle = idle.count }
        block.pointee.uses = 1
        block.pointee.pool = Unmanaged.passRetained(self)
        leased += 1
        return Slice(block: block, start: 0, end: Int32(truncatingIfNeeded: capacity))
    }

    /// A leased buffer that begins with a copy of `bytes`, which must fit the capacity.
    public func lease(copying bytes: RawSpan) -> Slice {
        var slice = lease()
        slice.withUnsafeMutableBytes { room in
            bytes.withUnsafeBytes { room.copyMemory(from: $0) }
        }
        slice.truncate(to: bytes.byteCount)
        return slice
    }

    /// Frees the buffers that were idle all the time since the last call, but for a few.
    /// - Returns: how many were freed.
    public func trimUnused(keeping few: Int) -> Int {
        let before = idle.count
        trim(to: max(few, idle.count - leastIdle))
        leastIdle = idle.count
        return max(0, before - idle.count)
    }

    fileprivate func giveBack(_ block: UnsafeMutablePointer<Block>) {
        leased -= 1
        if idle.count < keepsAtMost { idle.append(block) } else { Block.free(block) }
    }

    private func trim(to count: Int) {
        while idle.count > count, let block = idle.popLast() { Block.free(block) }
    }
}

/// A run of bytes in a leased buffer. Several slices may share one buffer; the last to go gives it back to its pool.
///
/// The count of sharers is a plain integer: a slice never leaves the loop whose pool it came from.
public struct Slice: ~Copyable {
    fileprivate let block: UnsafeMutablePointer<Block>
    private var start: Int32
    private var end: Int32

    fileprivate init(block: UnsafeMutablePointer<Block>, start: Int32, end: Int32) {
        self.block = block
        self.start = start
        self.end = end
    }

    deinit {
        block.pointee.uses &-= 1
        guard block.pointee.uses == 0 else { return }
        let pool = block.pointee.pool
        pool._withUnsafeGuaranteedRef { $0.giveBack(block) }
        pool.release()
    }

    /// Bytes in the slice.
    @inline(__always) public var count: Int { Int(end &- start) }
    @inline(__always) public var isEmpty: Bool { start == end }
    /// Whether no other slice shares the buffer, so that its bytes may be overwritten.
    public var isUnique: Bool { block.pointee.uses == 1 }

    /// The bytes, for as long as the slice is not changed.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            let span = RawSpan(
                _unsafeStart: UnsafeRawPointer(block.storage + Int(start)), byteCount: count)
            return _overrideLifetime(span, borrowing: self)
        }
    }

    /// A second slice of the same bytes: no copy.
    public borrowing func share() -> Slice {
        block.pointee.uses &+= 1
        return Slice(block: block, start: start, end: end)
    }

    /// A second slice of a part of the bytes: no copy.
    public borrowing func share(_ range: Range<Int>) -> Slice {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "a part of the slice")
        block.pointee.uses &+= 1
        return Slice(
            block: block, start: start &+ Int32(truncatingIfNeeded: range.lowerBound),
            end: start &+ Int32(truncatingIfNeeded: range.upperBound))
    }

    /// Drops the first `count` bytes.
    public mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "no more than there is")
        start &+= Int32(truncatingIfNeeded: count)
    }

    /// Keeps only the first `count` bytes.
    public mutating func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count, "no more than there is")
        end = start &+ Int32(truncatingIfNeeded: count)
    }

    /// Takes the first `count` bytes away as a slice of their own: no copy.
    public mutating func splitFirst(_ count: Int) -> Slice {
        let first = share(0..<count)
        removeFirst(count)
        return first
    }

    /// Copies bytes over those from `offset` on; they must fit. Not for a buffer that other slices share.
    public mutating func overwrite(at offset: Int, with bytes: RawSpan) {
        precondition(offset >= 0 && bytes.byteCount <= count - offset, "no more than there is room for")
        withUnsafeMutableBytes { room in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: room[offset...]).copyMemory(from: $0) }
        }
    }

    /// For the kernel and the cipher. Where other slices share the buffer the caller must know that none covers the
    /// bytes it writes.
    @inline(__always)
    public mutating func withUnsafeMutableBytes<R, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeMutableRawBufferPointer(start: block.storage + Int(start), count: count))
    }

    /// For the kernel and the cipher.
    @inline(__always)
    public borrowing func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: block.storage + Int(start), count: count))
    }
}

/// What stands before a buffer's bytes.
private struct Block {
    var uses: Int
    /// Retained while the buffer is leased, so that a slice may outlive whoever held the pool.
    var pool: Unmanaged<BufferPool>

    /// One cache line, so that the bytes begin on the next.
    static let headerSize = 64

    static func allocate(capacity: Int) -> UnsafeMutablePointer<Block> {
        UnsafeMutableRawPointer.allocate(byteCount: headerSize + capacity, alignment: 64)
            .bindMemory(to: Block.self, capacity: 1)
    }

    static func free(_ block: UnsafeMutablePointer<Block>) { UnsafeMutableRawPointer(block).deallocate() }
}

extension UnsafeMutablePointer<Block> {
    fileprivate var storage: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + Block.headerSize }
}
