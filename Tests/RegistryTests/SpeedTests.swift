// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Registry

/// A relay's loop asks at each login, and may not stand still for it.
@Suite(.serialized) struct SpeedTests {
    /// The time of one call, in microseconds: the best of ten batches, so that a busy machine does not count.
    func microseconds(_ work: (Int) throws -> Void) rethrows -> Double {
        var best = Double.infinity
        for batch in 0..<10 {
            let start = ContinuousClock.now
            for number in 0..<200 { try work(batch * 200 + number) }
            best = min(best, (ContinuousClock.now - start) / .microseconds(200))
        }
        return best
    }

    @Test func aLoginReadsWithin200Microseconds() throws {
        let fixture = try Fixture()
        let registry = try fixture.open()
        try registry.database.run("BEGIN IMMEDIATE")
        for number in 0..<5_000 {
            try registry.insert(
                NodeRecord(
                    id: id(number), name: name("n\(number)"), permissions: .standard, created: now, lastSeen: now))
        }
        try registry.database.run("COMMIT")
        let known = try microseconds { _ = try registry.refusal($0, invite: nil) }
        let unknown = try microseconds { _ = try registry.refusal(10_000 + $0, invite: token(10_000 + $0)) }
        let noticing = try microseconds { _ in _ = try registry.hasChangedElsewhere() }
        let seen = microseconds { registry.noteSeen(id($0), now: now + 100) }
        print(
            """
            login of a known node: \(known) us, of a stranger: \(unknown) us; \
            change noticed: \(noticing) us; last seen written: \(seen) us
            """
        )
        #expect(known < 200)
        #expect(unknown < 200)
        #expect(noticing < 200)
    }
}
