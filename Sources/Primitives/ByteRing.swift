// SPDX-License-Identifier: Apache-2.0

/// A compact queue of bytes: grows as it must, and while it is empty holds no more memory than it was told to keep. Small
/// payloads that must be kept wait here, so that a thousand quiet streams do not hold a thousand read buffers.
public struct ByteRing: ~Copyable {
    private var storage: UnsafeMutableRawPointer?
    /// Bytes of memory that it holds.
    public private(set) var capacity = 0
    private var head = 0
    public private(set) var count = 0
    private let kept: Int

    /// - Parameter kept: bytes of memory that are kept while it is empty.
    public init(keeping kept: Int = 0) { self.kept = kept }

    deinit { storage?.deallocate() }

    public var isEmpty: Bool { count == 0 }

    /// Copies bytes to the end.
    public mutating func append(_ bytes: RawSpan) {
        let added = bytes.byteCount
        guard added > 0 else { return }
        if count + added > capacity { grow(toHold: count + added) }
        guard let storage else { return }
        let tail = (head + count) & (capacity - 1)
        let first = min(added, capacity - tail)
        bytes.withUnsafeBytes { source in
            guard let base = source.baseAddress else { return }
            (storage + tail).copyMemory(from: base, byteCount: first)
            if added > first { storage.copyMemory(from: base + first, byteCount: added - first) }
        }
        count += added
    }

    /// Drops the oldest bytes; the memory goes with the last.
    public mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "no more than there is")
        self.count -= count
        head = self.count == 0 ? 0 : (head + count) & (capacity - 1)
        if self.count == 0, capacity > kept { release() }
    }

    /// Gives the memory back where nothing is in it.
    public mutating func releaseIfEmpty() {
        if count == 0 { release() }
    }

    private mutating func release() {
        storage?.deallocate()
        storage = nil
        capacity = 0
        head = 0
    }

    /// Hands `count` bytes, `offset` behind the oldest, to `body`: in one piece or, where they wrap, in two.
    public func withBytes(at offset: Int, count: Int, _ body: (RawSpan) -> Void) {
        precondition(offset >= 0 && count >= 0 && offset + count <= self.count, "no more than there is")
        guard let storage, count > 0 else { return }
        let start = (head + offset) & (capacity - 1)
        let first = min(count, capacity - start)
        body(RawSpan(_unsafeStart: storage + start, byteCount: first))
        if count > first { body(RawSpan(_unsafeStart: storage, byteCount: count - first)) }
    }

    private mutating func grow(toHold needed: Int) {
        // By four while it is small: few allocations on the way to what a busy stream needs.
        var wider = max(256, capacity)
        while wider < needed { wider *= wider < 64 << 10 ? 4 : 2 }
        let fresh = UnsafeMutableRawPointer.allocate(byteCount: wider, alignment: 16)
        if let storage {
            let first = min(count, capacity - head)
            fresh.copyMemory(from: storage + head, byteCount: first)
            if count > first { (fresh + first).copyMemory(from: storage, byteCount: count - first) }
            storage.deallocate()
        }
        storage = fresh
        capacity = wider
        head = 0
    }
}
