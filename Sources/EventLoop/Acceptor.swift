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
    private let watcher: DescriptorWatcher
    private unowned(unsafe) let loop: EventLoop
    private var timer: LoopTimer?
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
        watcher = try DescriptorWatcher(adopting: descriptor, loop: loop)
        watcher.reader = self
    }

    /// -1 once closed.
    var descriptor: Int32 { watcher.descriptor }

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
        guard watcher.isOpen else { return }
        timer?.close()
        watcher.close()
        owner = nil
    }

    /// Waits for connections, or does not.
    private func follow() {
        if isPaused || isWaiting { watcher.stop() } else { watcher.start() }
    }

    private func pause(for error: UVError) {
        isWaiting = true
        follow()
        timer?.arm(after: Acceptor.pause)
        owner?.paused(for: error)
    }
}

extension Acceptor: DescriptorReader {
    func loopEnded() { if let owner { owner.close() } else { close() } }

    func descriptorReady(_ status: Int32) {
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
}

extension Acceptor: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        isWaiting = false
        follow()
    }
}
