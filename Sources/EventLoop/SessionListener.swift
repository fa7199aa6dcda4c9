// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import Primitives

/// Is handed the connections of a ``SessionListener``.
public protocol SessionListenerDelegate: AnyObject {
    /// A connection: set its ``SessionSocket/delegate`` and start it; else it is closed at once.
    func sessionListener(_ listener: SessionListener, accepted socket: SessionSocket)
    /// As ``TCPListenerDelegate/tcpListener(_:pausedFor:)``.
    func sessionListener(_ listener: SessionListener, pausedFor error: UVError)
}

/// Accepts connections of other processes at a path of the file system. It listens, and keeps its delegate alive, until it
/// is closed or its loop ends; then its file goes.
public final class SessionListener {
    /// Where it listens.
    public let path: String
    private let acceptor: Acceptor
    private unowned(unsafe) let loop: EventLoop
    private var delegate: (any SessionListenerDelegate)?
    private let file: FileID?

    /// Listens from now on. A socket that nobody listens at any more is replaced; one in use is ``UVError/addressInUse``.
    /// - Parameter mode: who may connect, as of chmod(2).
    public init(
        loop: EventLoop, path: String, mode: UInt32, backlog: Int = 64, delegate: any SessionListenerDelegate
    ) throws(UVError) {
        self.path = path
        self.loop = loop
        self.delegate = delegate
        let descriptor = try SessionListener.listen(path: path, mode: mode, backlog: Int32(clamping: backlog))
        file = FileID(path: path)
        acceptor = try Acceptor(descriptor, loop: loop)
        acceptor.start(for: self)
    }

    private static func listen(path: String, mode: UInt32, backlog: Int32) throws(UVError) -> Int32 {
        let descriptor = cl_session_listen(path, mode, backlog)
        guard UVError(code: descriptor).isAddressInUse else { return try UVError.check(descriptor) }
        let other = cl_session_connect(path)
        if other >= 0 { Glibc.close(other) }
        guard UVError(code: other).isRefused, FileID(path: path)?.isSocket == true else { throw .addressInUse }
        unlink(path)
        return try UVError.check(cl_session_listen(path, mode, backlog))
    }

    /// Closes the socket and removes its file. No delegate call follows.
    public func close() {
        guard acceptor.descriptor >= 0 else { return }
        // Another process may have put its own socket there.
        if let file, FileID(path: path) == file { unlink(path) }
        delegate = nil
        acceptor.close()
    }
}

extension SessionListener: AcceptorOwner {
    func accepted(_ descriptor: Int32, from address: TransportAddress?) {
        guard let socket = try? SessionSocket(adopting: descriptor, loop: loop) else { return }
        delegate?.sessionListener(self, accepted: socket)
        if socket.delegate == nil { socket.close() }
    }

    func paused(for error: UVError) { delegate?.sessionListener(self, pausedFor: error) }
}
