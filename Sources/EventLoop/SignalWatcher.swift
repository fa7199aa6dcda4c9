// SPDX-License-Identifier: Apache-2.0

import CUV

/// Is told of a signal to the process.
public protocol SignalWatcherDelegate: AnyObject {
    func signalReceived(_ watcher: SignalWatcher)
}

/// Tells of one signal on the loop, instead of what the signal does by itself. Several loops may watch the same one.
///
/// It does not keep its delegate alive, it ends with whoever holds it, and no loop waits for it alone.
public final class SignalWatcher {
    /// The signal's number.
    public let signal: Int32

    private weak var delegate: (any SignalWatcherDelegate)?
    /// Nil once closed; libuv frees it.
    private var handle: UnsafeMutablePointer<uv_signal_t>?

    /// Watches from now on. Fails for a signal that cannot be caught.
    public init(loop: EventLoop, signal: Int32, delegate: any SignalWatcherDelegate) throws(UVError) {
        self.signal = signal
        self.delegate = delegate
        let handle = UnsafeMutablePointer<uv_signal_t>.allocate(capacity: 1)
        let status = uv_signal_init(loop.uv, handle)
        guard status == 0 else {
            handle.deallocate()
            throw UVError(code: status)
        }
        self.handle = handle
        handle.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        uv_unref(EventLoop.base(handle))
        try UVError.check(
            uv_signal_start(
                handle,
                { handle, _ in
                    guard let data = handle?.pointee.data else { return }
                    let watcher = Unmanaged<SignalWatcher>.fromOpaque(data).takeUnretainedValue()
                    watcher.delegate?.signalReceived(watcher)
                }, signal))
    }

    deinit { close() }

    /// The signal does again what it does by itself.
    public func close() {
        guard let handle else { return }
        self.handle = nil
        handle.pointee.data = nil
        uv_close(EventLoop.base(handle)) { handle in
            handle.map { UnsafeMutableRawPointer($0).deallocate() }
        }
    }
}

extension SignalWatcher: LoopOwned {
    func loopEnded() { close() }
}
