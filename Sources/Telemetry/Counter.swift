// SPDX-License-Identifier: Apache-2.0

/// A number that only grows: a plain integer that one loop owns. Wraps after 2^64.
public struct Counter: Sendable, Hashable {
    /// What was added up so far.
    public private(set) var value: UInt64 = 0

    /// Starts at 0.
    public init() {}

    /// Adds `amount`, which is not negative.
    @inline(__always) public mutating func add(_ amount: Int = 1) { value &+= UInt64(truncatingIfNeeded: amount) }
}

/// A number that goes up and down, and the highest that it was. A plain integer that one loop owns.
public struct Gauge: Sendable, Hashable {
    /// The number now.
    public private(set) var value = 0
    /// The highest that `set` or `add` made it.
    public private(set) var highest = 0

    /// Starts at 0.
    public init() {}

    /// Raises the number.
    @inline(__always) public mutating func add(_ amount: Int = 1) { set(value &+ amount) }
    /// Lowers the number.
    @inline(__always) public mutating func subtract(_ amount: Int = 1) { value &-= amount }
    /// Replaces the number.
    @inline(__always) public mutating func set(_ newValue: Int) {
        value = newValue
        if newValue > highest { highest = newValue }
    }
}
