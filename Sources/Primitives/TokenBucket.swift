// SPDX-License-Identifier: Apache-2.0

/// A rate with a burst: `rate` tokens a second flow in, up to `burst` are kept.
public struct TokenBucket: Sendable {
    public let rate: Double
    public let burst: Double
    private var tokens: Double
    private var refilledAt: Instant

    /// - Parameters:
    ///   - rate: tokens a second.
    ///   - burst: tokens that may be kept.
    public init(rate: Double, burst: Double, now: Instant) {
        self.rate = rate
        self.burst = burst
        tokens = burst
        refilledAt = now
    }

    /// Takes `count` tokens where there are so many, and answers whether there were.
    public mutating func take(_ count: Double = 1, now: Instant) -> Bool {
        if now > refilledAt {
            tokens = min(burst, tokens + (now - refilledAt).inSeconds * rate)
            refilledAt = now
        }
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }
}
