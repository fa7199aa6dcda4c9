// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// DATAGRAM frames that wait to be sent, whole with their headers. Past its bound the oldest is dropped and counted:
/// a late datagram is worth less than a new one.
struct DatagramQueue: ~Copyable {
    private var frames: ByteRing
    private let bound: Int
    /// Datagrams dropped for want of room.
    private(set) var dropped: UInt64 = 0

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
        return max(frames.isEmpty ? 1 : 0, bound - frames.count - largest)
    }
    /// Whether most of what waited has gone.
    var isLow: Bool { frames.count <= bound / 4 }
    /// Bytes of the oldest frame, header included; 0 where there is none.
    var firstFrame: Int {
        guard !frames.isEmpty else { return 0 }
        var wire: UInt64 = 0
        frames.withBytes(at: 0, count: FrameHeader.size) { piece in
            var reader = ByteReader(piece)
            while let byte = try? reader.readUInt8() { wire = wire << 8 | UInt64(byte) }
        }
        return FrameHeader.size + FrameHeader(wire: wire).length
    }

    mutating func append(_ datagram: RawSpan, stream: UInt32) {
        let needed = FrameHeader.size + datagram.byteCount
        guard datagram.byteCount <= Int(UInt16.max), needed <= bound else {
            dropped += 1
            return
        }
        while frames.count + needed > bound {
            frames.removeFirst(firstFrame)
            dropped += 1
        }
        let header = FrameHeader(.datagram, length: datagram.byteCount, stream: stream).wire.bigEndian
        withSpan(of: header) { frames.append($0) }
        frames.append(datagram)
    }

    /// Hands the oldest frames to `body`, whole ones, at least one and up to `limit` bytes; answers how many bytes.
    mutating func send(atMost limit: Int, _ body: (RawSpan) -> Void) -> Int {
        var total = 0
        while !frames.isEmpty {
            let next = firstFrame
            guard total + next <= limit || total == 0 else { break }
            frames.withBytes(at: 0, count: next, body)
            frames.removeFirst(next)
            total += next
        }
        return total
    }
}
