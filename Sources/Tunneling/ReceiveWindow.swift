// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// How far the peer may send on one stream, and how that grows (tunnel protocol, "Flow control"; RFC 9000, 4).
///
/// Offsets are absolute, so a CREDIT that is late or told twice does no harm. The window doubles while the application
/// takes a whole window within two round trips: then the window, not the application, is what holds the sender back.
struct ReceiveWindow {
    /// Bytes that came.
    private(set) var received: UInt64 = 0
    /// Bytes that the application took.
    private(set) var consumed: UInt64 = 0
    /// The highest offset that the peer may send to, as it was last told.
    private(set) var granted: UInt64
    /// The received offset as it was last told.
    private(set) var reported: UInt64 = 0
    /// How far ahead of what is consumed the peer may be.
    private(set) var size: Int
    /// Bytes by which it was tuned wider.
    private(set) var growth = 0
    private var epochStart: Instant
    private var epochConsumed: UInt64 = 0

    init(size: Int, now: Instant) {
        self.size = size
        granted = UInt64(size)
        epochStart = now
    }

    /// Bytes that came and that the application has not taken.
    var undelivered: Int { Int(received - consumed) }

    /// Counts bytes in; answers whether the peer was allowed to send them.
    mutating func receive(_ count: Int) -> Bool {
        let (offset, overflow) = received.addingReportingOverflow(UInt64(count))
        guard !overflow, offset <= granted else { return false }
        received = offset
        return true
    }

    /// Counts bytes that the application took; never more than came.
    mutating func consume(_ count: Int) { consumed = min(received, consumed + UInt64(count)) }

    /// Whether the peer should be told now that it may go on: a quarter of the window is free again, or of a wide window
    /// as much as keeps it nearly whole; or it has not heard for a while how much came.
    var wantsCredit: Bool {
        let free = consumed + UInt64(size)
        return (free > granted && free - granted >= UInt64(min(size / 4, Chosen.reportEveryAtMost)))
            || received - reported >= UInt64(reportEvery)
    }
    /// A wide window means a fast sender, which a report each 64 KiB would cost a wake-up for nothing.
    private var reportEvery: Int { max(Chosen.reportEvery, min(size / 4, Chosen.reportEveryAtMost)) }
    /// Whether something came that the peer was not told of.
    var hasUnreported: Bool { received > reported }

    /// The offsets to tell the peer now.
    mutating func report() -> (granted: UInt64, received: UInt64) {
        granted = max(granted, consumed + UInt64(size))
        reported = received
        return (granted, received)
    }

    /// Widens the window where it holds a fast sender back.
    /// - Parameter allowance: bytes that the windows of the tunnel may still grow by together.
    /// - Returns: the bytes that it grew by.
    mutating func tune(roundTrip: Duration?, largest: Int, allowance: Int, now: Instant) -> Int {
        guard consumed - epochConsumed >= UInt64(size) else { return 0 }
        let elapsed = now - epochStart
        epochStart = now
        epochConsumed = consumed
        guard let roundTrip, elapsed <= roundTrip * 2 else { return 0 }
        let more = max(0, min(size, largest - size, allowance))
        size += more
        growth += more
        return more
    }

    /// Widens the window as the stream is accepted.
    mutating func widen(by growth: Int) { size += growth }
}
