// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What one stream has taken from its application and is not yet known to be received: first what was sent and is kept
/// so that a tunnel can resume, then what waits to be sent.
///
///     0 ········ acknowledged ──────── sent ──────── end
///      forgotten             kept           waiting
///
/// A large payload stays in the buffer that it was read into; a small one is copied into a compact ring, so that many
/// quiet streams do not hold many read buffers.
struct SendQueue: ~Copyable {
    /// Offsets in the stream.
    private(set) var acknowledged: UInt64 = 0
    private(set) var sent: UInt64 = 0
    private(set) var end: UInt64 = 0

    private var segments = Ring<Segment>(keeping: Chosen.warmPlaces)
    private var ring = ByteRing(keeping: Chosen.warmRing)
    /// Whether anything came since ``coolDown()``.
    private(set) var isWarm = false
    /// Where `sent` is: a segment and bytes into it; and that segment's place in the ring, if it is there.
    private var cursor = 0
    private var cursorOffset = 0
    private var ringOffset = 0

    init() {}

    /// Bytes that wait to be sent.
    var unsent: Int { Int(end - sent) }
    /// Bytes that are kept or wait.
    var held: Int { Int(end - acknowledged) }

    /// Bytes of memory that small payloads have.
    var ringCapacity: Int { ring.capacity }

    mutating func append(_ bytes: consuming Slice) {
        let count = bytes.count
        guard count > 0 else { return }
        end += UInt64(count)
        isWarm = true
        guard count < Chosen.copiedPayload else {
            segments.append(Segment(slice: bytes, count: count))
            return
        }
        ring.append(bytes.bytes)
        if !extendLastSegment(by: count) { segments.append(Segment(slice: nil, count: count)) }
    }

    /// Small payloads that follow each other are one segment.
    private mutating func extendLastSegment(by count: Int) -> Bool {
        guard segments.count > 0 else { return false }
        let last = segments.count - 1
        let before = segments.withMutableElement(last) { segment -> Int? in
            guard segment.isInRing else { return nil }
            segment.count += count
            return segment.count - count
        }
        guard let before else { return false }
        if cursor > last { (cursor, cursorOffset) = (last, before) }
        return true
    }

    /// Hands the next `count` unsent bytes to `body`, in as many pieces as they lie in, and counts them as sent.
    mutating func send(_ count: Int, _ body: (RawSpan) -> Void) {
        precondition(count <= unsent, "no more than waits")
        var left = count
        while left > 0 { left -= sendPiece(atMost: left, body) }
        sent += UInt64(count)
    }

    private mutating func sendPiece(atMost limit: Int, _ body: (RawSpan) -> Void) -> Int {
        let start = cursorOffset
        let (taken, isInRing, isWhole) = segments.withElement(cursor) { segment in
            let taken = min(limit, segment.count - start)
            switch segment.slice {
            case .some(let slice): body(slice.bytes.extracting(start..<start + taken))
            case .none: break
            }
            return (taken, segment.isInRing, start + taken == segment.count)
        }
        if isInRing {
            ring.withBytes(at: ringOffset, count: taken, body)
            ringOffset += taken
        }
        cursorOffset = isWhole ? 0 : start + taken
        if isWhole { cursor += 1 }
        return taken
    }

    /// Forgets what is known to be received. Answers how many bytes that freed, or nil where `offset` was never sent.
    mutating func acknowledge(_ offset: UInt64) -> Int? {
        guard offset <= sent else { return nil }
        guard offset > acknowledged else { return 0 }
        let freed = Int(offset - acknowledged)
        acknowledged = offset
        var left = freed
        while left > 0 { left -= forgetPiece(atMost: left) }
        return freed
    }

    private mutating func forgetPiece(atMost limit: Int) -> Int {
        let (taken, isInRing, isWhole) = segments.withMutableElement(0) { segment in
            let taken = min(limit, segment.count)
            segment.count -= taken
            segment.slice?.removeFirst(taken)
            return (taken, segment.isInRing, segment.count == 0)
        }
        if isInRing {
            ring.removeFirst(taken)
            ringOffset -= taken
        }
        if isWhole {
            _ = segments.popFirst()
            cursor -= 1
        } else if cursor == 0 {
            cursorOffset -= taken
        }
        return taken
    }

    /// Gives the queue's memory back where nothing is in it and nothing came since the last call.
    /// - Returns: whether there is nothing to look after any more.
    mutating func coolDown() -> Bool {
        guard isWarm else {
            ring.releaseIfEmpty()
            segments.releaseIfEmpty()
            return segments.isEmpty
        }
        isWarm = false
        return false
    }

    /// Drops everything: the stream is reset.
    mutating func removeAll() {
        segments.removeAll()
        ring.removeFirst(ring.count)
        ring.releaseIfEmpty()
        isWarm = false
        acknowledged = end
        sent = end
        (cursor, cursorOffset, ringOffset) = (0, 0, 0)
    }

    private struct Segment: ~Copyable {
        /// The bytes, or nil where they are in the ring.
        var slice: Slice?
        var count: Int

        var isInRing: Bool {
            switch slice {
            case .some: false
            case .none: true
            }
        }
    }
}
