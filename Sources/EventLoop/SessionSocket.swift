// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc

/// Is told what comes over a ``SessionSocket``. It may close the socket in each call.
public protocol SessionSocketDelegate: AnyObject {
    /// One message; its bytes are gone after the call.
    func sessionSocket(_ socket: SessionSocket, received message: RawSpan)
    /// What had come is received: the time to look at what the messages have announced.
    func sessionSocketReceived(_ socket: SessionSocket)
    /// The other side has closed, or is gone. The socket is closed already; the last call.
    func sessionSocketEnded(_ socket: SessionSocket)
}

/// A Unix connection that keeps messages apart (SOCK_SEQPACKET), with a process of this host. It lives, and keeps its
/// delegate alive, until it is closed or its loop ends.
public final class SessionSocket {
    /// The delegate; set it before ``start()``.
    public var delegate: (any SessionSocketDelegate)?
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    /// -1 once closed.
    private var descriptor: Int32

    /// Messages that are received in one turn at most.
    private static let share = 64

    /// Takes over a connected socket, also where it throws.
    init(adopting descriptor: Int32, loop: EventLoop) throws(UVError) {
        self.descriptor = descriptor
        let status = uv_poll_init(loop.uv, handle, descriptor)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    /// A connection to whoever listens at the path.
    public convenience init(loop: EventLoop, connectingTo path: String) throws(UVError) {
        try self.init(adopting: UVError.check(cl_session_connect(path)), loop: loop)
    }

    deinit { handle.deallocate() }

    /// Begins to receive.
    public func start() {
        guard descriptor >= 0 else { return }
        uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, _, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<SessionSocket>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.ready() }
        }
    }

    public var isOpen: Bool { descriptor >= 0 }

    /// The process on the other side, as it was when it connected. Nil once closed.
    public var peer: PeerCredentials? { PeerCredentials(descriptor) }

    /// Sends one message.
    /// - Parameter rings: memory that the other side is given along with it.
    /// - Returns: whether it was sent; not where the other side reads nothing, or is gone.
    @discardableResult
    public func send(_ message: [UInt8], passing rings: SharedRings? = nil) -> Bool {
        guard descriptor >= 0 else { return false }
        return message.withUnsafeBytes {
            cl_session_send(descriptor, $0.baseAddress, UInt32(clamping: $0.count), rings?.descriptor ?? -1) == 0
        }
    }

    /// Closes it. No delegate call follows.
    public func close() {
        guard descriptor >= 0 else { return }
        let descriptor = self.descriptor
        self.descriptor = -1
        uv_close(EventLoop.base(handle)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<SessionSocket>.fromOpaque(data).release()
        }
        Glibc.close(descriptor)
        delegate = nil
    }

    private func ready() {
        withUnsafeTemporaryAllocation(byteCount: Int(CL_SESSION_LARGEST), alignment: 8) { room in
            for _ in 0..<SessionSocket.share {
                guard descriptor >= 0 else { return }
                let count = cl_session_receive(descriptor, room.baseAddress, UInt32(room.count))
                if count == UV_EAGAIN.rawValue { break }
                guard count > 0 else { return end() }
                delegate?.sessionSocket(self, received: UnsafeRawBufferPointer(rebasing: room[..<Int(count)]).bytes)
            }
        }
        if descriptor >= 0 { delegate?.sessionSocketReceived(self) }
    }

    private func end() {
        let delegate = self.delegate
        close()
        delegate?.sessionSocketEnded(self)
    }
}

extension SessionSocket: LoopOwned {
    func loopEnded() { close() }
}

/// A process, by the numbers of its user and groups.
public struct PeerCredentials: Hashable, Sendable {
    public var process: Int32
    public var user: UInt32
    /// Its primary group, and the others.
    public var groups: Set<UInt32>

    init?(_ descriptor: Int32) {
        var peer = cl_peer()
        guard descriptor >= 0, cl_peer(descriptor, &peer) == 0 else { return nil }
        process = peer.process
        user = peer.user
        groups = [peer.group]
        groups.formUnion(
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 1_024) { room in
                let count = cl_peer_groups(descriptor, room.baseAddress, UInt32(room.count))
                return Array(room.prefix(max(0, Int(count))))
            })
    }
}
