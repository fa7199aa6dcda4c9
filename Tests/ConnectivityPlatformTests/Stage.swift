// SPDX-License-Identifier: Apache-2.0

import Testing

/// Somebody in a test who keeps others by what the test told it to do, and who lets them go when asked.
protocol Performer: AnyObject {
    func letGo()
}

/// All performers of one test. What they are told to do refers to each other, so that nothing of it would ever be freed,
/// and a leak of the platform's own would not stand out.
final class Stage: @unchecked Sendable {
    private struct Entry { weak var performer: (any Performer)? }

    /// Of the test that runs now. A test and its stage are confined to one task.
    @TaskLocal static var current: Stage?

    private var entries: [Entry] = []

    func enter(_ performer: any Performer) { entries.append(Entry(performer: performer)) }

    /// The latest first: worlds came before those who play in them, and are to end when nobody answers any more.
    func clear() {
        for entry in entries.reversed() { entry.performer?.letGo() }
    }
}

/// Clears the stage after each test of a suite.
struct StageTrait: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let stage = Stage()
        defer { stage.clear() }
        try await Stage.$current.withValue(stage) { try await function() }
    }
}

extension Trait where Self == StageTrait {
    static var staged: Self { Self() }
}
