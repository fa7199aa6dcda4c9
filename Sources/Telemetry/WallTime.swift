// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A point on the wall clock, for people: it is printed, never computed with.
public struct WallTime: Sendable, Hashable {
    /// Seconds since 1970-01-01T00:00:00Z.
    public var seconds: Int64
    /// 0 to 999.
    public var milliseconds: Int

    /// A point that far from 1970, before it where `seconds` is negative.
    public init(seconds: Int64, milliseconds: Int = 0) {
        self.seconds = seconds
        self.milliseconds = milliseconds
    }

    /// What the system's clock says: may jump.
    public static var now: WallTime {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: Int64(time.tv_sec), milliseconds: time.tv_nsec / 1_000_000)
    }
}

extension WallTime: CustomStringConvertible {
    /// As RFC 3339 has it, in UTC: `2026-11-21T07:48:02.123Z`.
    public var description: String {
        let (days, second) = seconds.quotientAndRemainderFloored(86_400)
        let (year, month, day) = WallTime.date(days)
        let clock = [second / 3_600, second / 60 % 60, second % 60].map { WallTime.digits($0, 2) }.joined(
            separator: ":")
        let date = "\(WallTime.digits(year, 4))-\(WallTime.digits(month, 2))-\(WallTime.digits(day, 2))"
        return "\(date)T\(clock).\(WallTime.digits(Int64(milliseconds), 3))Z"
    }

    /// The proleptic Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the leap day
    /// comes last, in eras of 400 years, each of 146,097 days.
    private static func date(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = (days + 719_468).quotientAndRemainderFloored(146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let fromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * fromMarch + 2) / 5 + 1
        let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
        return (era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, day)
    }

    private static func digits(_ value: Int64, _ count: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}

extension Int64 {
    /// Division that rounds down, so that the remainder is never negative. `divisor` is positive.
    fileprivate func quotientAndRemainderFloored(_ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
