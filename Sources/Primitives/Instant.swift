// SPDX-License-Identifier: Apache-2.0

/// A point on the monotonic clock, in nanoseconds from an arbitrary start. Steps of the wall clock do not move it.
public struct Instant: Comparable, Hashable, Sendable {
    public var nanoseconds: UInt64

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
    /// Held between the first instant and the distant future.
    public static func + (a: Instant, b: Duration) -> Instant {
        let change = b.nanoseconds
        let sum =
            change < 0
            ? a.nanoseconds.subtractingReportingOverflow(change.magnitude)
            : a.nanoseconds.addingReportingOverflow(change.magnitude)
        guard sum.overflow else { return Instant(nanoseconds: sum.partialValue) }
        return Instant(nanoseconds: change < 0 ? 0 : .max)
    }
    /// The time from `b` to `a`; negative where `a` is earlier.
    public static func - (a: Instant, b: Instant) -> Duration {
        a < b
            ? .nanoseconds(-Int64(clamping: b.nanoseconds - a.nanoseconds))
            : .nanoseconds(Int64(clamping: a.nanoseconds - b.nanoseconds))
    }
    /// Later than every other.
    public static let distantFuture = Instant(nanoseconds: .max)
}

extension Duration {
    /// The duration in whole nanoseconds, held within 64 bits.
    public var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let whole = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let sum = whole.partialValue.addingReportingOverflow(attoseconds / 1_000_000_000)
        return whole.overflow || sum.overflow ? (seconds < 0 ? .min : .max) : sum.partialValue
    }
    /// The duration in whole milliseconds, rounded up, so that a timer never fires early.
    public var millisecondsRoundedUp: Int64 {
        let nanoseconds = nanoseconds
        return nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0)
    }
    /// For people and metrics.
    public var inSeconds: Double { Double(nanoseconds) / 1e9 }
}
