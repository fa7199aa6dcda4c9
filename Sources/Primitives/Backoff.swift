// SPDX-License-Identifier: Apache-2.0

/// Delays between tries: each up to twice the one before, within bounds, with jitter, so that ten thousand agents that
/// lost the same relay do not come back in the same second.
public struct Backoff: Sendable {
    public let initial: Duration
    public let maximum: Duration
    private var ceiling: Duration

    public init(initial: Duration = .milliseconds(500), maximum: Duration = .seconds(30)) {
        self.initial = initial
        self.maximum = maximum
        ceiling = min(initial, maximum)
    }

    /// The next delay: at random between half the ceiling and the ceiling, which then doubles.
    public mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        let top = ceiling.nanoseconds
        ceiling = min(maximum, ceiling * 2)
        return .nanoseconds(Int64.random(in: top / 2...top, using: &random))
    }

    /// What was tried has lasted: begin anew.
    public mutating func reset() { ceiling = min(initial, maximum) }
}
