// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Testing

@Suite struct NextTurnTests {
    /// Work for the next turn's end does not wait for an event, and comes after what the turn between has brought.
    @Test func workForTheNextTurnDoesNotWait() throws {
        let test = try TestLoop()
        defer { test.end() }
        let task = Repeating(test.loop, times: 5)
        // Nothing of the loop would come before this.
        let end = test.clock { test.loop.stop() }
        end.timer?.arm(after: .seconds(30))
        task.onEnd = { test.loop.stop() }
        test.loop.atTurnEnd(task)
        test.run(atMost: .seconds(20))
        #expect(task.turns == 5)
        // Each in a turn of its own: what was posted in one had its time before the next.
        #expect(task.heard == 4)
    }
}

/// Asks for another call each time, and posts itself mail, which only a turn brings.
private final class Repeating: TurnEndTask {
    private let loop: EventLoop
    private let times: Int
    private let mail = Mail()
    private(set) var turns = 0
    var heard: Int { mail.count }
    var onEnd: () -> Void = {}

    init(_ loop: EventLoop, times: Int) {
        self.loop = loop
        self.times = times
    }

    func turnEnded() {
        turns += 1
        if turns == times { return onEnd() }
        loop.mailbox.post { [mail] in mail.count += 1 }
        loop.atNextTurnEnd(self)
    }
}

/// Used on the loop's thread only.
private final class Mail: @unchecked Sendable {
    var count = 0
}
