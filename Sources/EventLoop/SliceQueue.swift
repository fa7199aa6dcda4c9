// SPDX-License-Identifier: Apache-2.0

import CUV
import Primitives

/// Slices that wait to be written, in order. It holds no memory while it is empty, and takes what it needs from the
/// loop's pool of chunks, so that a warm loop allocates nothing. Whoever drops it has emptied it.
struct SliceQueue: ~Copyable {
    private var first: UnsafeMutablePointer<SliceChunk>?
    private var last: UnsafeMutablePointer<SliceChunk>?
    /// Bytes that wait.
    private(set) var byteCount = 0

    var isEmpty: Bool { first == nil }

    /// Adds a slice that is not empty.
    mutating func append(_ slice: consuming Slice, from pool: SliceChunkPool) {
        byteCount += slice.count
        if let last, last.pointee.tail < SliceChunk.capacity {
            last.append(slice)
            return
        }
        let fresh = pool.lease()
        fresh.append(slice)
        if let last { last.pointee.next = fresh } else { first = fresh }
        last = fresh
    }

    /// Lays the oldest slices out for writev(2): how many of them there are, and their bytes in all.
    borrowing func layOut(in vectors: UnsafeMutableBufferPointer<uv_buf_t>) -> (count: Int, bytes: Int) {
        var count = 0
        var bytes = 0
        var chunk = first
        while let current = chunk {
            var index = Int(current.pointee.head)
            while index < Int(current.pointee.tail) {
                guard count < vectors.count else { return (count, bytes) }
                current.slots[index].withUnsafeBytes { part in
                    let base = UnsafeMutableRawPointer(mutating: part.baseAddress)?.assumingMemoryBound(to: CChar.self)
                    vectors.initializeElement(at: count, to: uv_buf_t(base: base, len: part.count))
                }
                bytes += current.slots[index].count
                count += 1
                index += 1
            }
            chunk = current.pointee.next
        }
        return (count, bytes)
    }

    /// Drops the oldest bytes and every slice that ends with them.
    mutating func removeFirst(_ count: Int, to pool: SliceChunkPool) {
        byteCount -= count
        var left = count
        while left > 0, let chunk = first {
            let oldest = chunk.slots + Int(chunk.pointee.head)
            let size = oldest.pointee.count
            guard size <= left else {
                oldest.pointee.removeFirst(left)
                return
            }
            left -= size
            dropOldest(of: chunk, to: pool)
        }
    }

    mutating func removeAll(to pool: SliceChunkPool) {
        byteCount = 0
        while let chunk = first { dropOldest(of: chunk, to: pool) }
    }

    private mutating func dropOldest(of chunk: UnsafeMutablePointer<SliceChunk>, to pool: SliceChunkPool) {
        (chunk.slots + Int(chunk.pointee.head)).deinitialize(count: 1)
        chunk.pointee.head += 1
        guard chunk.pointee.head == chunk.pointee.tail else { return }
        first = chunk.pointee.next
        if first == nil { last = nil }
        pool.giveBack(chunk)
    }
}

/// The head of 1 KiB that holds slices.
struct SliceChunk {
    var next: UnsafeMutablePointer<SliceChunk>?
    /// The oldest slice, and the place behind the newest.
    var head: Int32 = 0
    var tail: Int32 = 0

    static let size = 1024
    static let capacity = Int32((size - MemoryLayout<SliceChunk>.stride) / MemoryLayout<Slice>.stride)
}

extension UnsafeMutablePointer<SliceChunk> {
    fileprivate var slots: UnsafeMutablePointer<Slice> {
        UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: Slice.self)
    }

    fileprivate func append(_ slice: consuming Slice) {
        (slots + Int(pointee.tail)).initialize(to: slice)
        pointee.tail += 1
    }
}

/// Chunks that no queue needs now.
final class SliceChunkPool {
    private var idle: UnsafeMutablePointer<SliceChunk>?
    private var idleCount = 0

    private static let keepsAtMost = 256

    deinit {
        while let chunk = idle {
            idle = chunk.pointee.next
            UnsafeMutableRawPointer(chunk).deallocate()
        }
    }

    func lease() -> UnsafeMutablePointer<SliceChunk> {
        guard let chunk = idle else {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: SliceChunk.size, alignment: 16)
            return memory.initializeMemory(as: SliceChunk.self, to: SliceChunk())
        }
        idle = chunk.pointee.next
        idleCount -= 1
        chunk.pointee = SliceChunk()
        return chunk
    }

    func giveBack(_ chunk: UnsafeMutablePointer<SliceChunk>) {
        guard idleCount < SliceChunkPool.keepsAtMost else {
            UnsafeMutableRawPointer(chunk).deallocate()
            return
        }
        chunk.pointee.next = idle
        idle = chunk
        idleCount += 1
    }
}

/// Write requests that no stream needs now. A stream has one only while the kernel takes no more of its bytes.
final class WriteRequestPool {
    private var idle: [UnsafeMutablePointer<uv_write_t>] = []

    private static let keepsAtMost = 64

    deinit { for request in idle { request.deallocate() } }

    func lease() -> UnsafeMutablePointer<uv_write_t> { idle.popLast() ?? .allocate(capacity: 1) }

    func giveBack(_ request: UnsafeMutablePointer<uv_write_t>) {
        if idle.count < WriteRequestPool.keepsAtMost { idle.append(request) } else { request.deallocate() }
    }
}
