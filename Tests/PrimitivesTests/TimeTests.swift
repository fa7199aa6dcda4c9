// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@Suite struct InstantTests {
    @Test(
        arguments: [
            (0, Duration.zero, 0), (0, .nanoseconds(-1), 0), (5, .nanoseconds(-3), 2), (UInt64.max, .zero, .max),
            (.max, .seconds(1), .max), (.max, .nanoseconds(-1), .max - 1), (.max - 1, .nanoseconds(1), .max),
            (1 << 63, .zero, 1 << 63), ((1 << 63) - 1, .nanoseconds(1), 1 << 63), (0, .nanoseconds(Int64.min), 0),
            (0, .nanoseconds(Int64.max), UInt64(Int64.max)), (0, .seconds(Int64.max), UInt64(Int64.max)),
            (7, .seconds(Int64.min), 0), (.max, .seconds(Int64.max), .max),
        ] as [(UInt64, Duration, UInt64)])
    func sums(start: UInt64, duration: Duration, end: UInt64) {
        #expect(Instant(nanoseconds: start) + duration == Instant(nanoseconds: end))
    }

    @Test(
        arguments: [
            (5, 3, Duration.nanoseconds(2)), (3, 5, .nanoseconds(-2)), (0, 0, .zero), (.max, .max, .zero),
            (.max, .max - 2, .nanoseconds(2)), (.max, 0, .nanoseconds(Int64.max)), (0, .max, .nanoseconds(-Int64.max)),
            (1 << 63, 0, .nanoseconds(Int64.max)), (1 << 63, 1, .nanoseconds(Int64.max)),
        ] as [(UInt64, UInt64, Duration)])
    func differences(a: UInt64, b: UInt64, duration: Duration) {
        #expect(Instant(nanoseconds: a) - Instant(nanoseconds: b) == duration)
    }

    @Test func nothingIsLaterThanTheDistantFuture() {
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
        #expect(Instant(nanoseconds: 1) < .distantFuture)
    }

    @Test(
        arguments: [
            (Duration.zero, 0, 0), (.nanoseconds(1), 1, 1), (.milliseconds(1), 1_000_000, 1),
            (.nanoseconds(1_000_001), 1_000_001, 2), (.milliseconds(-1), -1_000_000, -1), (.nanoseconds(-1), -1, 0),
            (.seconds(Int64.max), .max, .max / 1_000_000 + 1), (.seconds(Int64.min), .min, .min / 1_000_000),
            (.nanoseconds(Int64.min), .min, .min / 1_000_000),
        ] as [(Duration, Int64, Int64)])
    func durationsAsNumbers(duration: Duration, nanoseconds: Int64, milliseconds: Int64) {
        #expect(duration.nanoseconds == nanoseconds)
        #expect(duration.millisecondsRoundedUp == milliseconds)
    }
}

@Suite struct BackoffTests {
    @Test(arguments: [
        (Duration.milliseconds(500), Duration.seconds(30)), (.seconds(1), .seconds(1)), (.zero, .zero),
        (.seconds(60), .seconds(30)), (.nanoseconds(1), .seconds(1)),
    ])
    func delaysDoubleWithinBounds(initial: Duration, maximum: Duration) {
        for seed in UInt64(1)...20 {
            var random = SeededRandom(seed)
            var backoff = Backoff(initial: initial, maximum: maximum)
            var ceiling = min(initial, maximum)
            for attempt in 0..<40 {
                let delay = backoff.next(using: &random)
                #expect(
                    delay >= (ceiling - .nanoseconds(1)) / 2 && delay <= ceiling, "seed \(seed), attempt \(attempt)")
                ceiling = min(maximum, ceiling * 2)
            }
            backoff.reset()
            #expect(backoff.next(using: &random) <= min(initial, maximum), "seed \(seed)")
        }
    }

    @Test func agentsDoNotComeBackTogether() {
        var delays: Set<Duration> = []
        for seed in UInt64(1)...100 {
            var random = SeededRandom(seed)
            var backoff = Backoff()
            delays.insert(backoff.next(using: &random))
        }
        #expect(delays.count > 90)
    }
}

@Suite struct TokenBucketTests {
    private func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    @Test func burstThenRate() {
        var bucket = TokenBucket(rate: 10, burst: 3, now: at(0))
        let first = (0..<5).map { _ in bucket.take(now: at(0)) }
        #expect(first == [true, true, true, false, false])
        #expect(bucket.take(now: at(99)) == false)
        #expect(bucket.take(now: at(100)) == true)
        #expect(bucket.take(now: at(100)) == false)
        let later = (0..<5).map { _ in bucket.take(now: at(1_000_000)) }
        #expect(later == [true, true, true, false, false], "no more than the burst is kept")
    }

    @Test func manyAtOnce() {
        var bucket = TokenBucket(rate: 1, burst: 10, now: at(0))
        #expect(bucket.take(11, now: at(0)) == false)
        #expect(bucket.take(10, now: at(0)) == true)
        #expect(bucket.take(0.5, now: at(0)) == false)
        #expect(bucket.take(0, now: at(0)) == true)
    }

    /// A clock that stands still or goes back gives nothing, and takes nothing.
    @Test func timeGoesOnlyForward() {
        var bucket = TokenBucket(rate: 1_000, burst: 1, now: at(500))
        #expect(bucket.take(now: at(0)) == true)
        #expect(bucket.take(now: at(0)) == false)
        #expect(bucket.take(now: at(500)) == false)
        #expect(bucket.take(now: at(501)) == true)
    }

    @Test(arguments: UInt64(1)...10) func neverMoreThanRateAndBurst(seed: UInt64) {
        var random = SeededRandom(seed)
        var bucket = TokenBucket(rate: 50, burst: 20, now: at(0))
        var (time, taken) = (UInt64(0), 0)
        for _ in 0..<2_000 {
            time += UInt64.random(in: 0...30, using: &random)
            if bucket.take(now: at(time)) { taken += 1 }
        }
        #expect(Double(taken) <= 20 + Double(time) / 1_000 * 50 + 0.001, "seed \(seed)")
    }
}
