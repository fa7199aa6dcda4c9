// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
import Primitives

// Unix sockets carry descriptors from one process to another.
extension TCPStream {
    /// Sends a descriptor to the other side of a Unix socket, which must be waiting for it
    /// (``takeDescriptor(_:)``). The caller's own stays open. Nothing may be waiting to be written.
    public func pass(_ passed: Int32) throws(UVError) {
        guard queuedBytes == 0, !isClosed else { throw .invalidArgument }
        try UVError.check(cl_pass_descriptor(descriptor, passed))
    }

    /// Takes the descriptor that the other side of a Unix socket sends next, and reads on after that. What is read until
    /// then is not told to the delegate: the other side must know that it is waited for, and send nothing else.
    /// - Parameter completion: called once, unless it is cancelled: with the descriptor, which is the caller's, or why none
    ///   came.
    public func takeDescriptor(
        _ completion: @escaping (Result<Int32, UVError>) -> Void
    ) throws(UVError) -> DescriptorArrival {
        guard !isClosed else { throw .invalidArgument }
        stopReading()
        return try DescriptorArrival(self, completion)
    }
}

/// A descriptor that is to come over a Unix socket. It waits, whoever holds it, until it has come or is cancelled.
public final class DescriptorArrival {
    private weak var stream: TCPStream?
    private var completion: ((Result<Int32, UVError>) -> Void)?
    /// Of the socket's other number: libuv knows the first one as the stream's.
    private let watcher: DescriptorWatcher

    init(_ stream: TCPStream, _ completion: @escaping (Result<Int32, UVError>) -> Void) throws(UVError) {
        self.stream = stream
        self.completion = completion
        let descriptor = fcntl(stream.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw UVError(code: -errno) }
        watcher = try DescriptorWatcher(adopting: descriptor, loop: stream.loop)
        watcher.reader = self
        watcher.start()
    }

    /// Waits no longer; the completion is not called.
    public func cancel() {
        completion = nil
        watcher.close()
    }
}

extension DescriptorArrival: DescriptorReader {
    func loopEnded() { cancel() }

    func descriptorReady(_ status: Int32) {
        let taken = status == 0 ? cl_take_descriptor(watcher.descriptor) : status
        guard taken != UV_EAGAIN.rawValue, taken != UV_EINTR.rawValue else { return }
        let completion = self.completion
        cancel()
        stream?.startReading()
        completion?(taken >= 0 ? .success(taken) : .failure(UVError(code: taken)))
    }
}
