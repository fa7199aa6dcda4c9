// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
public import Primitives

/// Is handed the connections of a ``UnixListener``.
public protocol UnixListenerDelegate: AnyObject {
    /// A connection. It is closed at once unless the call sets its ``TCPStream/delegate``; nothing is read before
    /// ``TCPStream/startReading()``.
    func unixListener(_ listener: UnixListener, accepted stream: TCPStream)
    /// As ``TCPListenerDelegate/tcpListener(_:pausedFor:)``.
    func unixListener(_ listener: UnixListener, pausedFor error: UVError)
}

/// Accepts connections at a path of the file system, to which the file's mode says who may connect.
///
/// It listens, and keeps its delegate alive, until it is closed or its loop ends; then its file goes.
public final class UnixListener {
    /// Where it listens.
    public let path: String

    private let acceptor: Acceptor
    private unowned(unsafe) let loop: EventLoop
    private let readPool: BufferPool
    private var delegate: (any UnixListenerDelegate)?
    private let file: FileID?

    /// Listens from now on. A socket that nobody listens at any more, left by a process that was killed, is replaced;
    /// one that is in use is ``UVError/addressInUse``.
    ///
    /// - Parameters:
    ///   - path: up to 107 bytes.
    ///   - mode: who may connect, as of chmod(2).
    public init(
        loop: EventLoop, path: String, mode: UInt32 = 0o600, backlog: Int = 64, readPool: BufferPool,
        delegate: any UnixListenerDelegate
    ) throws(UVError) {
        self.path = path
        self.loop = loop
        self.readPool = readPool
        self.delegate = delegate
        let descriptor = try UnixListener.listen(path: path, mode: mode, backlog: Int32(clamping: backlog))
        file = FileID(path: path)
        acceptor = try Acceptor(descriptor, loop: loop)
        acceptor.start(for: self)
    }

    /// Whether anybody listens at `path`, as far as this user may know.
    /// - Returns: nil where somebody does, else what connecting there comes to.
    public static func obstacle(at path: String) -> UVError? {
        let descriptor = cl_unix_connect(path)
        guard descriptor >= 0 else {
            let error = UVError(code: descriptor)
            // Its backlog is full: it does not answer, but it is there.
            return error.code == -EAGAIN ? nil : error
        }
        Glibc.close(descriptor)
        return nil
    }

    private static func listen(path: String, mode: UInt32, backlog: Int32) throws(UVError) -> Int32 {
        let descriptor = cl_unix_listen(path, mode, backlog)
        guard UVError(code: descriptor).isAddressInUse else { return try UVError.check(descriptor) }
        let other = cl_unix_connect(path)
        if other >= 0 { Glibc.close(other) }
        guard UVError(code: other).isRefused, FileID(path: path)?.isSocket == true else { throw .addressInUse }
        unlink(path)
        return try UVError.check(cl_unix_listen(path, mode, backlog))
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

extension UnixListener: AcceptorOwner {
    func accepted(_ descriptor: Int32, from address: TransportAddress?) {
        guard let stream = try? TCPStream(adopting: descriptor, loop: loop, readPool: readPool) else { return }
        stream.isConnected = true
        delegate?.unixListener(self, accepted: stream)
        if stream.delegate == nil { stream.close() }
    }

    func paused(for error: UVError) { delegate?.unixListener(self, pausedFor: error) }
}

/// Which file a path names.
struct FileID: Equatable {
    private let device: dev_t
    private let inode: ino_t
    private let mode: mode_t

    init?(path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        device = status.st_dev
        inode = status.st_ino
        mode = status.st_mode
    }

    var isSocket: Bool { mode & S_IFMT == S_IFSOCK }
}
