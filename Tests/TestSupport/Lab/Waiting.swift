// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Something of the lab did not come true in time, or a command of the lab failed.
public struct LabError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// How long a test waits for what has to come, but by no certain time: other tests may have the machine, its disk too.
public let patience = Duration.seconds(60)

/// Waits until `condition` gives a value, looking every few milliseconds; never sleeps longer than it has to.
/// - Parameters:
///   - what: what is awaited, for the message; read only when the deadline passes.
///   - deadline: how long to look before giving up with a `LabError`.
@discardableResult
public func eventually<Value>(
    _ what: @autoclosure () -> String, within deadline: Duration = patience,
    every interval: Duration = .milliseconds(5), _ condition: () async throws -> Value?
) async throws -> Value {
    let clock = ContinuousClock()
    let end = clock.now + deadline
    while true {
        if let value = try await condition() { return value }
        guard clock.now < end else { throw LabError("not within \(deadline): \(what())") }
        try await Task.sleep(for: interval)
    }
}

/// Waits until `condition` is true. As `eventually`, for plain yes and no.
public func until(
    _ what: @autoclosure () -> String, within deadline: Duration = patience,
    every interval: Duration = .milliseconds(10), _ condition: () async throws -> Bool
) async throws {
    try await eventually(what(), within: deadline, every: interval) { try await condition() ? true : nil }
}

/// Runs a cleanup that must also run when `body` throws.
func withCleanup<Value>(_ body: () async throws -> Value, cleanup: () async -> Void) async throws -> Value {
    do {
        let value = try await body()
        await cleanup()
        return value
    } catch {
        await cleanup()
        throw error
    }
}
