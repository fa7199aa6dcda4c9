// SPDX-License-Identifier: Apache-2.0

/// A leased buffer that is filled at its end and emptied at its front: what waits to be written to one socket.
public struct OutputBuffer: ~Copyable {
    private var storage: Slice
    private var head = 0
    private var tail = 0

    /// Leases a buffer from the pool.
    public init(from pool: BufferPool) { storage = pool.lease() }

    /// Bytes that wait.
    public var count: Int { tail - head }
    public var isEmpty: Bool { head == tail }
    /// Bytes that still fit behind those that wait.
    public var room: Int { storage.count - tail }

    /// The bytes that wait.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get { _overrideLifetime(storage.bytes.extracting(head..<tail), borrowing: self) }
    }

    /// Copies bytes in; they must fit the room.
    public mutating func append(_ bytes: RawSpan) {
        withUnsafeRoom { room in
            bytes.withUnsafeBytes { room.copyMemory(from: $0) }
            return bytes.byteCount
        }
    }

    /// Lets the cipher or the kernel write into the room; `body` answers how many bytes it wrote.
    @discardableResult @inline(__always)
    public mutating func withUnsafeRoom<E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> Int
    ) throws(E) -> Int {
        let tail = self.tail
        let written = try storage.withUnsafeMutableBytes { bytes throws(E) in
            try body(UnsafeMutableRawBufferPointer(rebasing: bytes[tail...]))
        }
        precondition(written >= 0 && written <= room, "no more than the room")
        self.tail += written
        return written
    }

    /// Lets the kernel read the bytes that wait.
    @inline(__always)
    public borrowing func withUnsafeBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try storage.withUnsafeBytes { bytes throws(E) in try body(UnsafeRawBufferPointer(rebasing: bytes[head..<tail]))
        }
    }

    /// The bytes that wait, in the buffer in which they lie.
    public consuming func takeAll() -> Slice {
        var bytes = storage
        bytes.truncate(to: tail)
        bytes.removeFirst(head)
        return bytes
    }

    /// Drops the first `count` bytes: they are written.
    public mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "no more than there is")
        head += count
        if head == tail {
            head = 0
            tail = 0
        }
    }
}
