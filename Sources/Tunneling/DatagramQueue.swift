// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// DATAGRAM frames that wait to be sent. Past its bound the oldest is dropped and counted: a late datagram is worth less
/// than a new one.
///
/// Small ones are copied into one ring, whole with their headers; of a large one the header stands in the ring with a mark,
/// and the payload stays in the buffer that it came in.
struct DatagramQueue: ~Copyable {
    private var frames: ByteRing
    private var large = Ring<Slice>()
    /// Bytes of all frames.
    private var count = 0
    private let bound: Int
    /// Datagrams dropped for want of room.
    private(set) var dropped: UInt64 = 0

    /// On a header in the ring: the payload is the first of `large`. Never sent.
    private static let isLarge: UInt64 = 1 << 54
    /// Payloads from this size on are not copied: it bounds how much larger than the payloads their buffers are.
    private static let largeFrom = 16 << 10

    init(bound: Int) {
        self.bound = bound
        frames = ByteRing(keeping: bound)
    }

    /// Gives the memory back where nothing is in it.
    mutating func releaseIfEmpty() { frames.releaseIfEmpty() }

    var isEmpty: Bool { frames.isEmpty }
    /// Bytes of datagrams that certainly fit, as large as they may be. One always does where nothing waits.
    var room: Int {
        let largest = FrameHeader.size + Int(UInt16.max)
        return max(frames.isEmpty ? 1 : 0, bound - count - largest)
    }
    /// Whether most of what waited has gone.
    var isLow: Bool { count <= bound / 4 }
    /// Bytes of the oldest frame, header included; 0 where there is none.
    var firstFrame: Int { frames.isEmpty ? 0 : FrameHeader.size + FrameHeader(wire: firstHeader).length }

    private var firstHeader: UInt64 {
        var wire: UInt64 = 0
        frames.withBytes(at: 0, count: FrameHeader.size) { piece in
            var reader = ByteReader(piece)
            while let byte = try? reader.readUInt8() { wire = wire << 8 | UInt64(byte) }
        }
        return wire
    }

    mutating func append(_ datagram: consuming Slice, stream: UInt32) {
        let needed = FrameHeader.size + datagram.count
        guard datagram.count <= Int(UInt16.max), needed <= bound else {
            dropped += 1
            return
        }
        while count + needed > bound {
            removeFirst()
            dropped += 1
        }
        count += needed
        let header = FrameHeader(.datagram, length: datagram.count, stream: stream).wire
        let isLarge = datagram.count >= DatagramQueue.largeFrom
        withSpan(of: (isLarge ? header | DatagramQueue.isLarge : header).bigEndian) { frames.append($0) }
        if isLarge { large.append(datagram) } else { frames.append(datagram.bytes) }
    }

    private mutating func removeFirst() {
        let (header, size) = (firstHeader, firstFrame)
        count -= size
        guard header & DatagramQueue.isLarge != 0 else { return frames.removeFirst(size) }
        frames.removeFirst(FrameHeader.size)
        _ = large.popFirst()
    }

    /// Hands the oldest frames to `body`, whole ones, at least one and up to `limit` bytes; answers how many bytes.
    mutating func send(atMost limit: Int, _ body: (RawSpan) -> Void) -> Int {
        var total = 0
        while !frames.isEmpty {
            let (header, size) = (firstHeader, firstFrame)
            guard total + size <= limit || total == 0 else { break }
            if header & DatagramQueue.isLarge != 0 {
                withSpan(of: (header & ~DatagramQueue.isLarge).bigEndian, body)
                if !large.isEmpty { large.withElement(0) { body($0.bytes) } }
            } else {
                frames.withBytes(at: 0, count: size, body)
            }
            removeFirst()
            total += size
        }
        return total
    }
}
