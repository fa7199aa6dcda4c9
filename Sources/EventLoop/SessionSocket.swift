// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV

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
    private let watcher: DescriptorWatcher

    /// Messages that are received in one turn at most.
    private static let share = 64

    /// Takes over a connected socket, also where it throws.
    init(adopting descriptor: Int32, loop: EventLoop) throws(UVError) {
        watcher = try DescriptorWatcher(adopting: descriptor, loop: loop)
        watcher.reader = self
    }

    /// A connection to whoever listens at the path.
    public convenience init(loop: EventLoop, connectingTo path: String) throws(UVError) {
        try self.init(adopting: UVError.check(cl_session_connect(path)), loop: loop)
    }

    /// Begins to receive.
    public func start() { watcher.start() }

    public var isOpen: Bool { watcher.isOpen }

    /// The process on the other side, as it was when it connected. Nil once closed.
    public var peer: PeerCredentials? { PeerCredentials(watcher.descriptor) }

    /// Sends one message.
    /// - Parameter rings: memory that the other side is given along with it.
    /// - Returns: whether it was sent; not where the other side reads nothing, or is gone.
    @discardableResult
    public func send(_ message: [UInt8], passing rings: SharedRings? = nil) -> Bool {
        guard isOpen else { return false }
        return message.withUnsafeBytes {
            cl_session_send(watcher.descriptor, $0.baseAddress, UInt32(clamping: $0.count), rings?.descriptor ?? -1)
                == 0
        }
    }

    /// Closes it. No delegate call follows.
    public func close() {
        watcher.close()
        delegate = nil
    }

    private func end() {
        let delegate = self.delegate
        close()
        delegate?.sessionSocketEnded(self)
    }
}

extension SessionSocket: DescriptorReader {
    func loopEnded() { close() }

    func descriptorReady(_ status: Int32) {
        withUnsafeTemporaryAllocation(byteCount: Int(CL_SESSION_LARGEST), alignment: 8) { room in
            for _ in 0..<SessionSocket.share {
                guard isOpen else { return }
                let count = cl_session_receive(watcher.descriptor, room.baseAddress, UInt32(room.count))
                if count == UV_EAGAIN.rawValue { break }
                guard count > 0 else { return end() }
                delegate?.sessionSocket(self, received: UnsafeRawBufferPointer(rebasing: room[..<Int(count)]).bytes)
            }
        }
        if isOpen { delegate?.sessionSocketReceived(self) }
    }
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
