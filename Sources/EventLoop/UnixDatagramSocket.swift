// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
import Primitives

/// Is told what comes to a ``UnixDatagramSocket``.
public protocol UnixDatagramDelegate: AnyObject {
    /// One message; its bytes are gone after the call. The kernel vouches for the sender's user.
    func unixDatagramSocket(_ socket: UnixDatagramSocket, received message: RawSpan, from sender: UnixSender)
}

/// Who has sent a message to a ``UnixDatagramSocket``.
public struct UnixSender: Sendable {
    let sender: cl_sender
    /// The user; `UInt32.max` where the kernel has not told.
    public var user: UInt32 { sender.uid }
    public var process: Int32 { sender.pid }
    /// Whether an answer can be sent.
    public var hasName: Bool { sender.name_length > 0 }
}

/// Receives messages at a path of the file system, and answers them. It lives, and keeps its delegate alive, until it is
/// closed or its loop ends; then its file goes.
public final class UnixDatagramSocket {
    public let path: String
    private unowned(unsafe) let loop: EventLoop
    private var delegate: (any UnixDatagramDelegate)?
    private let watcher: DescriptorWatcher
    private let room = UnsafeMutableRawPointer.allocate(byteCount: UnixDatagramSocket.longest, alignment: 16)

    /// What is longer is cut.
    public static let longest = 1_024
    /// Messages that are received in one turn at most.
    private static let share = 128

    /// Receives from now on.
    /// - Parameters:
    ///   - path: up to 107 bytes; nothing may be there.
    ///   - mode: who may send, as of chmod(2).
    ///   - owner: whose file it is.
    public init(
        loop: EventLoop, path: String, mode: UInt32 = 0o600, owner: UInt32, delegate: any UnixDatagramDelegate
    ) throws(UVError) {
        self.loop = loop
        self.path = path
        self.delegate = delegate
        let descriptor = try UVError.check(cl_unix_datagram(path, mode, owner))
        do throws(UVError) { watcher = try DescriptorWatcher(adopting: descriptor, loop: loop) } catch {
            unlink(path)
            throw error
        }
        watcher.reader = self
        watcher.start()
    }

    deinit { room.deallocate() }

    private func receive() {
        for _ in 0..<UnixDatagramSocket.share {
            guard watcher.isOpen else { return }
            var sender = cl_sender()
            let count = cl_unix_receive(watcher.descriptor, room, UInt32(UnixDatagramSocket.longest), &sender)
            guard count >= 0 else { return }
            let message = RawSpan(_unsafeStart: room, byteCount: Int(count))
            delegate?.unixDatagramSocket(self, received: message, from: UnixSender(sender: sender))
        }
    }

    /// Answers a message, where its sender waits for that.
    /// - Returns: false where the sender has no room for it now; true also where nobody is there any more.
    @discardableResult
    public func answer(_ bytes: [UInt8], to sender: UnixSender) -> Bool {
        guard watcher.isOpen, sender.hasName else { return true }
        var sender = sender.sender
        let status = bytes.withUnsafeBytes {
            cl_unix_answer(watcher.descriptor, $0.baseAddress, UInt32($0.count), &sender)
        }
        return status != UV_EAGAIN.rawValue
    }

    /// Closes the socket and removes its file. No delegate call follows.
    public func close() {
        guard watcher.isOpen else { return }
        delegate = nil
        unlink(path)
        watcher.close()
    }
}

extension UnixDatagramSocket: DescriptorReader {
    func loopEnded() { close() }

    func descriptorReady(_ status: Int32) { receive() }
}
