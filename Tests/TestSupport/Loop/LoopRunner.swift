// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives

/// An event loop for one test: it runs until what the test waits for is so, or fails once a deadline has passed.
public final class LoopRunner: LoopTimerDelegate {
    public let loop: EventLoop
    private var timer: LoopTimer?

    /// - Parameter loop: nil for one of its own. The runner ends it.
    public init(_ loop: EventLoop? = nil) throws {
        if let loop { self.loop = loop } else { self.loop = try EventLoop() }
        timer = LoopTimer(loop: self.loop, delegate: self)
    }

    /// Runs the loop until the condition is so; it is looked at every millisecond.
    /// - Throws: a `LabError` with `what` once the deadline has passed.
    public func run(
        _ what: @autoclosure () -> String, within deadline: Duration = patience, until condition: () throws -> Bool
    ) throws {
        let clock = ContinuousClock()
        let end = clock.now + deadline
        while try !condition() {
            guard clock.now < end else { throw LabError("not within \(deadline): \(what())") }
            turn()
        }
    }

    /// Runs the loop for a moment: all that was under way on loopback comes through in it.
    public func settle(turns: Int = 20) { for _ in 0..<turns { turn() } }

    /// Closes every socket and timer of the loop, so that what they hold goes.
    public func end() { loop.closeAll() }

    private func turn() {
        timer?.arm(after: .milliseconds(1))
        loop.run()
    }

    public func timerFired(_ timer: LoopTimer) { loop.stop() }
}

extension EventLoop {
    /// A slice with a copy of these bytes, of which there are at most 64 KiB.
    public func slice(_ bytes: [UInt8]) -> Slice { buffers.lease(copying: bytes.span.bytes) }
    public func slice(_ text: String) -> Slice { slice(Array(text.utf8)) }
}
