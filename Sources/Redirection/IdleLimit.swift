// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// Ends something that has been idle for too long, once it is told to watch.
final class IdleLimit: LoopTimerDelegate {
    private let loop: EventLoop
    private let timeout: Duration
    private var lastActive: Instant
    private var timer: LoopTimer?
    private var expired: (() -> Void)?

    init(loop: EventLoop, timeout: Duration) {
        self.loop = loop
        self.timeout = timeout
        lastActive = loop.now
    }

    /// Something moves.
    func touch() { lastActive = loop.now }

    /// Watches from now on; a second call changes nothing.
    func start(_ expired: @escaping () -> Void) {
        guard timer == nil else { return }
        self.expired = expired
        touch()
        let timer = LoopTimer(loop: loop, delegate: self)
        timer.arm(after: timeout)
        self.timer = timer
    }

    func stop() {
        timer?.close()
        timer = nil
        expired = nil
    }

    func timerFired(_ timer: LoopTimer) {
        let idle = loop.now - lastActive
        guard idle >= timeout else { return timer.arm(after: timeout - idle) }
        expired?()
    }
}
