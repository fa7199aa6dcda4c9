// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
import Primitives

/// Is handed the connections of an ``Acceptor``.
protocol AcceptorOwner: AnyObject {
    /// A connection, which the owner takes over; where it cannot be used for want of memory or the like it says so.
    func accepted(_ descriptor: Int32, from address: TransportAddress?)
    func paused(for error: UVError)
    func close()
}

/// Accepts what comes to a listening socket, and never gives up: when the process has no descriptor left it pauses and
/// tries again (frp's accept loop ended there). Kept by libuv's handle until closed; keeps its owner until then.
final class Acceptor {
    private var owner: (any AcceptorOwner)?
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private unowned(unsafe) let loop: EventLoop
    private var timer: LoopTimer?
    /// -1 once closed.
    private(set) var descriptor: Int32
    /// By its user.
    private var isPaused = false
    /// By a shortage.
    private var isWaiting = false

    /// Connections that are accepted in one turn at most.
    private static let share = 64
    private static let pause = Duration.milliseconds(100)

    /// Takes over a listening socket, also where it throws.
    init(_ descriptor: Int32, loop: EventLoop) throws(UVError) {
        self.loop = loop
        self.descriptor = descriptor
        let status = uv_poll_init(loop.uv, handle, descriptor)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { handle.deallocate() }

    /// Begins to accept.
    func start(for owner: any AcceptorOwner) {
        self.owner = owner
        timer = LoopTimer(loop: loop, delegate: self)
        follow()
    }

    func setPaused(_ paused: Bool) {
        guard paused != isPaused, descriptor >= 0 else { return }
        isPaused = paused
        follow()
    }

    func close() {
        guard descriptor >= 0 else { return }
        let descriptor = self.descriptor
        self.descriptor = -1
        timer?.close()
        uv_close(EventLoop.base(handle)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<Acceptor>.fromOpaque(data).release()
        }
        Glibc.close(descriptor)
        owner = nil
    }

    /// Waits for connections, or does not.
    private func follow() {
        guard !isPaused, !isWaiting else {
            uv_poll_stop(handle)
            return
        }
        uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, status, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<Acceptor>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.ready(status) }
        }
    }

    private func ready(_ status: Int32) {
        guard status == 0 else {
            pause(for: UVError(code: status))
            return
        }
        for _ in 0..<Acceptor.share {
            guard descriptor >= 0, !isPaused, !isWaiting else { return }
            var address = SocketAddress()
            let accepted = address.withMutableBytes { cl_accept(descriptor, $0) }
            if accepted >= 0 {
                owner?.accepted(accepted, from: address.transportAddress)
            } else if accepted == UV_EAGAIN.rawValue {
                return
            } else if UVError(code: accepted).isShortage {
                pause(for: UVError(code: accepted))
            }
            // Anything else is this one connection's misfortune: it went before it was accepted (accept(2)).
        }
    }

    private func pause(for error: UVError) {
        isWaiting = true
        follow()
        timer?.arm(after: Acceptor.pause)
        owner?.paused(for: error)
    }
}

extension Acceptor: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        isWaiting = false
        follow()
    }
}

extension Acceptor: LoopOwned {
    func loopEnded() { owner?.close() }
}
