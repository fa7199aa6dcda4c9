// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What was sent and is not known to have come, and how much may be on its way: the sender's half of a ``PacketStream``.
///
/// Losses are found by time, as RFC 8985 has it: what was sent a while before something that came is lost. The window grows as
/// in RFC 5681 and shrinks to 70 % (RFC 9438, 4.6) once for each window with a loss.
struct SentPackets {
    struct Packet {
        let offset: UInt64
        let length: Int
        let isFin: Bool
        var sentAt: Instant
        var state: State = .underWay
        var wasRepeated = false
        var end: UInt64 { offset + UInt64(length) }
    }

    enum State { case underWay, arrived, lost }

    private var packets: [Packet] = []
    private var head = 0
    /// Bytes under way.
    private(set) var underWay = 0
    /// Every byte before it has come.
    private(set) var acknowledged: UInt64 = 0
    private(set) var window = 32 * PacketSegment.room
    private var threshold = Int.max
    /// The window shrinks no more before this has come.
    private var recovery: UInt64 = 0
    private(set) var roundTrip: Duration?
    private var variation = Duration.zero
    private var timeouts = 0
    /// When something new has come last, or was sent with nothing under way.
    private(set) var progressAt = Instant(nanoseconds: 0)
    /// The sending time of the last packet that came.
    private var newestArrival = Instant(nanoseconds: 0)
    private var lostCount = 0

    static let largestWindow = 1 << 20
    private static let smallestWindow = 4 * PacketSegment.room
    private static let shortestTimeout = Duration.milliseconds(200)
    private static let firstTimeout = Duration.milliseconds(500)
    private static let longestTimeout = Duration.seconds(5)

    var isEmpty: Bool { head == packets.count }
    /// Whether the window has room for one more.
    var maySend: Bool { underWay < window }

    mutating func append(_ packet: Packet) {
        if isEmpty { progressAt = packet.sentAt }
        packets.append(packet)
        underWay += packet.length
    }

    /// The first that is lost, to be sent again.
    mutating func takeLost(now: Instant) -> Packet? {
        guard lostCount > 0, let index = packets[head...].firstIndex(where: { $0.state == .lost }) else { return nil }
        lostCount -= 1
        packets[index].state = .underWay
        packets[index].sentAt = now
        packets[index].wasRepeated = true
        underWay += packets[index].length
        return packets[index]
    }

    var hasLost: Bool { lostCount > 0 }

    // MARK: What came

    mutating func arrived(upTo offset: UInt64, _ ranges: [Range<UInt64>], now: Instant) {
        var arrived = 0
        for index in head..<packets.count {
            let packet = packets[index]
            if packet.state == .arrived { continue }
            let isThere =
                packet.end <= offset || ranges.contains { $0.contains(packet.offset) && packet.end <= $0.upperBound }
            guard isThere else { continue }
            arrived += packet.length
            if packet.state == .lost { lostCount -= 1 } else { underWay -= packet.length }
            packets[index].state = .arrived
            newestArrival = max(newestArrival, packet.sentAt)
            if !packet.wasRepeated { measure(now - packet.sentAt) }
        }
        dropArrived()
        guard arrived > 0 else { return }
        progressAt = now
        timeouts = 0
        findLosses()
        grow(arrived)
    }

    private mutating func dropArrived() {
        while head < packets.count, packets[head].state == .arrived {
            acknowledged = packets[head].end
            head += 1
        }
        if head == packets.count {
            packets.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 256 {
            packets.removeFirst(head)
            head = 0
        }
    }

    /// RFC 6298, 2.
    private mutating func measure(_ sample: Duration) {
        guard let roundTrip else {
            self.roundTrip = sample
            variation = sample / 2
            return
        }
        let difference = sample > roundTrip ? sample - roundTrip : roundTrip - sample
        variation = variation * 0.75 + difference * 0.25
        self.roundTrip = roundTrip * 0.875 + sample * 0.125
    }

    private mutating func findLosses() {
        let patience = max((roundTrip ?? .zero) / 4, .milliseconds(1))
        var first: UInt64?
        for index in head..<packets.count where packets[index].state == .underWay {
            guard packets[index].sentAt + patience < newestArrival else { continue }
            lose(index)
            first = first ?? packets[index].offset
        }
        if let first, first >= recovery { shrink() }
    }

    private mutating func lose(_ index: Int) {
        packets[index].state = .lost
        lostCount += 1
        underWay -= packets[index].length
    }

    private mutating func shrink() {
        threshold = max(SentPackets.smallestWindow, window * 7 / 10)
        window = threshold
        recovery = packets.last?.end ?? 0
    }

    private mutating func grow(_ arrived: Int) {
        guard acknowledged >= recovery else { return }
        window += window < threshold ? arrived : max(1, PacketSegment.room * arrived / window)
        window = min(window, SentPackets.largestWindow)
    }

    // MARK: Time

    /// When what is under way is given up for lost.
    var deadline: Instant? {
        guard !isEmpty else { return nil }
        let usual = roundTrip.map { max(SentPackets.shortestTimeout, $0 + variation * 4) } ?? SentPackets.firstTimeout
        let last = packets[head].state == .underWay ? max(packets[head].sentAt, progressAt) : progressAt
        return last + min(SentPackets.longestTimeout, usual * (1 << min(timeouts, 6)))
    }

    /// Nothing has come for too long: everything is sent again, slowly.
    mutating func timedOut() {
        timeouts += 1
        for index in head..<packets.count where packets[index].state == .underWay { lose(index) }
        threshold = max(SentPackets.smallestWindow, window / 2)
        window = SentPackets.smallestWindow
        recovery = packets.last?.end ?? 0
    }
}
