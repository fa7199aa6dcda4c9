// SPDX-License-Identifier: Apache-2.0

import CUV
public import Primitives

/// Is told when a timer's time has come.
public protocol LoopTimerDelegate: AnyObject {
    func timerFired(_ timer: LoopTimer)
}

/// Fires once each time it is armed, never early, and late by up to a millisecond and the rest of the turn.
///
/// It does not keep its delegate alive, and it ends with whoever holds it.
public final class LoopTimer {
    private weak var delegate: (any LoopTimerDelegate)?
    private unowned(unsafe) let loop: EventLoop
    /// Nil once closed; libuv frees it.
    private var handle: UnsafeMutablePointer<uv_timer_t>?

    /// A timer that is not armed.
    public init(loop: EventLoop, delegate: any LoopTimerDelegate) {
        self.loop = loop
        self.delegate = delegate
        let handle = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
        uv_timer_init(loop.uv, handle)
        self.handle = handle
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit { close() }

    /// Fires after the duration, counted from the beginning of this turn. What was armed before is forgotten.
    public func arm(after duration: Duration) {
        guard handle != nil else { return }
        arm(at: loop.now + duration)
    }

    /// Fires at the instant, or in the next turn where it has passed. What was armed before is forgotten.
    public func arm(at instant: Instant) {
        guard let handle else { return }
        // Never 0: libuv would fire a timer that is armed so in its own callback again and again within one turn.
        // libuv counts the same clock in whole milliseconds, so a deadline that is rounded up is never early.
        let deadline = instant.nanoseconds / 1_000_000 + (instant.nanoseconds % 1_000_000 > 0 ? 1 : 0)
        let now = uv_now(loop.uv)
        uv_timer_start(
            handle,
            { handle in
                guard let data = handle?.pointee.data else { return }
                // Kept for the call: the delegate may drop it.
                let timer = Unmanaged<LoopTimer>.fromOpaque(data).takeUnretainedValue()
                timer.loop.forgetTime()
                timer.delegate?.timerFired(timer)
            }, deadline > now ? deadline - now : 1, 0)
    }

    /// Whether it will fire.
    public var isArmed: Bool { handle.map { uv_is_active(EventLoop.base($0)) != 0 } ?? false }

    /// Does not fire until it is armed again.
    public func disarm() {
        guard let handle else { return }
        uv_timer_stop(handle)
    }

    /// Never fires again.
    public func close() {
        guard let handle else { return }
        self.handle = nil
        handle.pointee.data = nil
        uv_close(EventLoop.base(handle)) { handle in
            handle.map { UnsafeMutableRawPointer($0).deallocate() }
        }
    }
}

extension LoopTimer: LoopOwned {
    func loopEnded() { close() }
}
