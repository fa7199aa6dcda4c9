// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Whether the peer is still there (tunnel protocol, "Liveness"): a PING when nothing was heard for an interval, and after
/// three silent intervals the carrier is dead.
///
/// Intervals are counted as they are lived through, not read off the clock: a process that was stopped for a minute asks
/// first before it takes the minute for the peer's silence.
struct Liveness {
    enum Verdict { case alive, ping, dead }

    var interval: Duration
    private var silentIntervals = 0
    private var deadline: Instant

    init(interval: Duration, now: Instant) {
        self.interval = interval
        deadline = now + interval
    }

    static let silentIntervalsUntilDead = 3

    /// Something came from the peer.
    mutating func heard(now: Instant) {
        silentIntervals = 0
        deadline = now + interval
    }

    /// When to ask again.
    var nextDeadline: Instant { deadline }

    mutating func check(now: Instant) -> Verdict {
        guard now >= deadline else { return .alive }
        silentIntervals += 1
        deadline = now + interval
        return silentIntervals >= Self.silentIntervalsUntilDead ? .dead : .ping
    }
}

/// The time to the peer and back, from PING and PONG: the least of the recent ones, since it is what the path takes when
/// no queue adds to it.
struct RoundTrip {
    private(set) var least: Duration?
    private(set) var latest: Duration?
    private var pending: (token: UInt64, sentAt: Instant)?
    private var measuredAt: Instant?

    /// Whether it is time to measure anew.
    func isStale(now: Instant) -> Bool {
        guard pending == nil else { return false }
        guard let measuredAt else { return true }
        return now - measuredAt > Chosen.roundTripAge
    }

    mutating func sent(_ token: UInt64, now: Instant) { pending = (token, now) }

    /// Takes a PONG's token; one that was not asked for, or was asked for long ago, is ignored.
    /// - Returns: the time that it took.
    mutating func received(_ token: UInt64, now: Instant) -> Duration? {
        guard let pending, pending.token == token else { return nil }
        self.pending = nil
        measuredAt = now
        let sample = now - pending.sentAt
        latest = sample
        // A longer time is believed by and by, since the path may have changed.
        least = least.map { sample < $0 ? sample : $0 + (sample - $0) / 8 } ?? sample
        return sample
    }
}
