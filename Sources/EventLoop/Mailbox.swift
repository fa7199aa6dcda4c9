// SPDX-License-Identifier: Apache-2.0

import CUV
import Glibc
import Synchronization

/// Runs closures on a loop on behalf of other threads. It may be kept for longer than its loop, which then ignores it.
public final class Mailbox: Sendable {
    private struct State {
        var mail: [@Sendable () -> Void] = []
        /// Given back by the loop with its memory, for the mail to come.
        var spare: [@Sendable () -> Void] = []
        nonisolated(unsafe) var handle: UnsafeMutablePointer<uv_async_t>?
    }

    private let state = Mutex(State())

    init() {}

    /// Calls the closure once on the loop's thread, in the order of posting. From any thread. A loop that has ended drops
    /// it, and one that has nothing else to wait for does not wait for it (``EventLoop/waitsForMail``).
    public func post(_ body: @escaping @Sendable () -> Void) {
        state.withLock { state in
            guard let handle = state.handle else { return }
            state.mail.append(body)
            if state.mail.count == 1 { uv_async_send(handle) }
        }
    }

    /// The loop begins to listen.
    func open(_ handle: UnsafeMutablePointer<uv_async_t>, on loop: UnsafeMutablePointer<uv_loop_t>) -> Int32 {
        let status = uv_async_init(loop, handle) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<Mailbox>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.deliver() }
        }
        guard status == 0 else { return status }
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        state.withLock { $0.handle = handle }
        return 0
    }

    /// The loop ends; what nobody has read is dropped, outside the lock, since it may hold anything.
    func close() {
        let dropped = state.withLock { state in
            state.handle = nil
            defer { state.mail = [] }
            return state.mail
        }
        _ = consume dropped
    }

    private func deliver() {
        var mail = state.withLock { state in
            let mail = state.mail
            state.mail = state.spare
            state.spare = []
            return mail
        }
        for index in mail.indices { mail[index]() }
        mail.removeAll(keepingCapacity: true)
        let spare = mail
        state.withLock { $0.spare = spare }
    }
}

/// A value that belongs to one loop, in a box that may be carried through other threads, such as in a closure for that
/// loop's ``Mailbox``. It opens only on the loop's thread.
public struct LoopBound<Value>: @unchecked Sendable {
    private let value: Value
    private let thread: pthread_t

    /// On the loop's thread.
    public init(_ value: Value) {
        self.value = value
        thread = pthread_self()
    }

    /// Hands the value to `body`. On any other thread than the one where the box was made this traps.
    public func withValue<R>(_ body: (Value) -> R) -> R {
        precondition(pthread_equal(thread, pthread_self()) != 0, "a value stays on its loop's thread")
        return body(value)
    }
}
