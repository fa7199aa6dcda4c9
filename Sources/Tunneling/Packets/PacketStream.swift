// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Is told what comes over a ``PacketStream``.
public protocol PacketStreamDelegate: AnyObject {
    /// The next bytes in order.
    func packetStream(_ stream: PacketStream, received bytes: consuming Slice)
    /// No more bytes come.
    func packetStreamReceivedEnd(_ stream: PacketStream)
    /// The other side has broken it off, or does not answer any more.
    func packetStream(_ stream: PacketStream, failed why: PacketStreamFailure)
}

/// Why a stream of packets has ended before its end.
public enum PacketStreamFailure: Error, Sendable {
    case reset
    case silent
}

/// Bytes in order, both ways, over packets that may be lost, doubled and reordered: what a tunnel lies on where a provider
/// carries packets. It does no I/O: packets and times go in, packets and a deadline come out.
///
/// After ``receive(_:_:now:)``, ``append(_:)``, ``finish()`` and ``handleTimeout(now:)`` call ``fill(_:now:)`` until it has no more.
/// The receiver takes all that comes in order at once, so that the sender's window alone bounds what is under way.
public final class PacketStream {
    /// A number that tells it from others between the same two nodes.
    public let connection: UInt32
    public weak var delegate: (any PacketStreamDelegate)?

    private let local: IPAddress
    private let remote: IPAddress
    private let isDialing: Bool
    private var hasHeard = false
    private var failed = false

    // What is sent
    private var sent = SentPackets()
    private var waiting = ByteRing()
    /// The offset of the first byte in `waiting`, and of the first that was never sent.
    private var waitingFrom: UInt64 = 0
    private var next: UInt64 = 0
    private var isFinishing = false
    private var hasSentFin = false

    // What comes
    private var received: UInt64 = 0
    private var hasEnded = false
    private var early: [Piece] = []
    private var owesAcknowledgement = false

    /// Bytes that came before those that go before them.
    private struct Piece {
        let offset: UInt64
        let bytes: [UInt8]
        let isFin: Bool
        var end: UInt64 { offset + UInt64(bytes.count) + (isFin ? 1 : 0) }
    }

    /// Bytes that wait to be sent, or to be sent again, at most.
    private static let mostWaiting = 1 << 20
    /// How far ahead of what is missing, and in how many pieces, bytes are kept.
    private static let mostEarly = 2 << 20
    private static let mostPieces = 2_048
    /// Nothing was heard for so long of what is under way.
    private static let patience = Duration.seconds(20)
    /// The header of a packet without ranges, before the bytes of the stream.
    public static let room = PacketSegment.room

    /// - Parameters:
    ///   - local: IPv6, as `remote`: the addresses of the packets.
    ///   - isDialing: whether this side makes the connection.
    public init(connection: UInt32, from local: IPAddress, to remote: IPAddress, isDialing: Bool) {
        self.connection = connection
        self.local = local
        self.remote = remote
        self.isDialing = isDialing
    }

    /// Bytes that ``append(_:)`` takes now.
    public var sendRoom: Int { isFinishing ? 0 : max(0, PacketStream.mostWaiting - waiting.count) }
    /// Whether the other side has everything.
    public var isFlushed: Bool { sent.isEmpty && waiting.isEmpty && isFinishing == hasSentFin }
    public var roundTrip: Duration? { sent.roundTrip }

    /// Queues bytes for the other side.
    public func append(_ bytes: RawSpan) { waiting.append(bytes) }

    /// No byte follows.
    public func finish() { isFinishing = true }

    // MARK: Sending

    /// Appends the next packet to an empty buffer. False where there is none to send now.
    public func fill(_ output: inout OutputBuffer, now: Instant) -> Bool {
        guard !failed else { return false }
        if let lost = sent.maySend ? sent.takeLost(now: now) : nil {
            write(lost.offset, lost.length, isFin: lost.isFin, &output)
            return true
        }
        guard sent.maySend else { return acknowledge(&output) }
        let unsent = waiting.count - Int(next - waitingFrom)
        if unsent > 0 {
            let count = min(unsent, PacketSegment.room)
            sent.append(.init(offset: next, length: count, isFin: false, sentAt: now))
            write(next, count, isFin: false, &output)
            next += UInt64(count)
            return true
        }
        if isFinishing, !hasSentFin {
            hasSentFin = true
            sent.append(.init(offset: next, length: 1, isFin: true, sentAt: now))
            write(next, 1, isFin: true, &output)
            return true
        }
        return acknowledge(&output)
    }

    private func write(_ offset: UInt64, _ length: Int, isFin: Bool, _ output: inout OutputBuffer) {
        // Where nothing is missing this tells all that an acknowledgement would.
        if early.isEmpty { owesAcknowledgement = false }
        let count = isFin ? 0 : length
        segment(.data, isFin ? .fin : [], offset).write(to: &output, from: local, to: remote, count: count)
        waiting.withBytes(at: Int(offset - waitingFrom), count: count) { output.append($0) }
    }

    private func acknowledge(_ output: inout OutputBuffer) -> Bool {
        guard owesAcknowledgement else { return false }
        owesAcknowledgement = false
        var answer = segment(.acknowledgement, [], next)
        for piece in early {
            if let last = answer.ranges.last, last.upperBound >= piece.offset {
                answer.ranges[answer.ranges.count - 1] = last.lowerBound..<max(last.upperBound, piece.end)
            } else if answer.ranges.count < PacketSegment.mostRanges {
                answer.ranges.append(piece.offset..<piece.end)
            }
        }
        answer.write(to: &output, from: local, to: remote)
        return true
    }

    private func segment(_ kind: PacketSegment.Kind, _ extra: PacketSegment.Flags, _ offset: UInt64) -> PacketSegment {
        var flags = extra
        if isDialing { flags.insert(hasHeard ? .dialing : [.dialing, .open]) }
        return PacketSegment(kind: kind, flags: flags, connection: connection, offset: offset, acknowledged: received)
    }

    /// The packet that tells the other side that this one has let go.
    public func writeReset(_ output: inout OutputBuffer) {
        segment(.reset, [], next).write(to: &output, from: local, to: remote)
    }

    // MARK: Receiving

    /// Takes a packet's segment and its bytes.
    public func receive(_ segment: PacketSegment, _ bytes: consuming Slice, now: Instant) {
        guard !failed, segment.connection == connection else { return }
        hasHeard = true
        if segment.kind == .reset { return fail(.reset) }
        guard segment.acknowledged <= next + (hasSentFin ? 1 : 0) else { return }
        sent.arrived(upTo: segment.acknowledged, segment.ranges, now: now)
        dropAcknowledged()
        guard segment.kind == .data else { return }
        owesAcknowledgement = true
        take(segment.offset, bytes, isFin: segment.flags.contains(.fin))
        takeEarly()
    }

    private func dropAcknowledged() {
        let arrived = min(sent.acknowledged, next)
        guard arrived > waitingFrom else { return }
        waiting.removeFirst(Int(arrived - waitingFrom))
        waitingFrom = arrived
    }

    private func take(_ offset: UInt64, _ bytes: consuming Slice, isFin: Bool) {
        let end = offset + UInt64(bytes.count) + (isFin ? 1 : 0)
        guard end > received, !hasEnded, end <= received + UInt64(PacketStream.mostEarly) else { return }
        guard offset <= received else { return keep(offset, bytes, isFin: isFin) }
        let known = min(bytes.count, Int(received - offset))
        bytes.removeFirst(known)
        received = end
        if !bytes.isEmpty { delegate?.packetStream(self, received: bytes) }
        guard isFin else { return }
        hasEnded = true
        early = []
        delegate?.packetStreamReceivedEnd(self)
    }

    /// In the order of their offsets; what came twice is kept once.
    private func keep(_ offset: UInt64, _ bytes: consuming Slice, isFin: Bool) {
        var index = early.count
        while index > 0, early[index - 1].offset >= offset { index -= 1 }
        let isThere = index < early.count && early[index].offset == offset
        guard !isThere, early.count < PacketStream.mostPieces else { return }
        var copy: [UInt8] = []
        copy.append(copying: bytes.bytes)
        early.insert(Piece(offset: offset, bytes: copy, isFin: isFin), at: index)
    }

    private func takeEarly() {
        while let first = early.first, first.offset <= received, !failed {
            early.removeFirst()
            take(first.offset, Slice.copy(of: first.bytes), isFin: first.isFin)
        }
    }

    private func fail(_ why: PacketStreamFailure) {
        guard !failed else { return }
        failed = true
        // What the other side has said to the end is not undone by its letting go.
        if why == .reset, hasEnded, isFlushed { return }
        delegate?.packetStream(self, failed: why)
    }

    // MARK: Time

    /// When ``handleTimeout(now:)`` is to be called.
    public var nextDeadline: Instant? { failed ? nil : sent.deadline }

    /// Sends again what did not come, or gives up.
    public func handleTimeout(now: Instant) {
        guard let deadline = nextDeadline, deadline <= now else { return }
        guard now - sent.progressAt < PacketStream.patience else { return fail(.silent) }
        sent.timedOut()
    }
}

extension Slice {
    /// A buffer of its own: seldom, and freed at once.
    fileprivate static func copy(of bytes: [UInt8]) -> Slice {
        BufferPool(capacity: max(1, bytes.count), keepsAtMost: 0).lease(copying: bytes.rawSpan)
    }
}
