// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// The connections to services that are under way, the oldest first: one timer for all of them, since each has the same
/// time, and most are there before it is even looked at.
final class ConnectQueue {
    private let loop: EventLoop
    var timeout: Duration
    private var first: ServiceConnection?
    private var last: ServiceConnection?
    private var timer: LoopTimer?

    init(loop: EventLoop, timeout: Duration) {
        self.loop = loop
        self.timeout = timeout
    }

    /// Its time begins. It is kept until it is removed.
    func append(_ connection: ServiceConnection) {
        connection.deadline = loop.now + timeout
        connection.previous = last
        if let last { last.next = connection } else { first = connection }
        last = connection
        if timer?.isArmed != true { arm() }
    }

    /// It is connected, or given up; does nothing where it is not in the queue.
    func remove(_ connection: ServiceConnection) {
        guard connection.deadline != .distantFuture else { return }
        connection.deadline = .distantFuture
        let (previous, next) = (connection.previous, connection.next)
        connection.previous = nil
        connection.next = nil
        if let previous { previous.next = next } else { first = next }
        if let next { next.previous = previous } else { last = previous }
    }

    private func arm() {
        guard let first else { return }
        let timer = self.timer ?? LoopTimer(loop: loop, delegate: self)
        timer.arm(at: first.deadline)
        self.timer = timer
    }
}

extension ConnectQueue: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        // Each leaves the queue, or goes to its end with its next address and a later deadline.
        while let first, first.deadline <= loop.now { first.timedOut() }
        arm()
    }
}
