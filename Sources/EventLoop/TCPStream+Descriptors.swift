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
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    /// The socket's other number: libuv knows the first one as the stream's. -1 once closed.
    private var descriptor: Int32

    init(_ stream: TCPStream, _ completion: @escaping (Result<Int32, UVError>) -> Void) throws(UVError) {
        self.stream = stream
        self.completion = completion
        descriptor = fcntl(stream.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw UVError(code: -errno) }
        let status = uv_poll_init(stream.loop.uv, handle, descriptor)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
        uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, status, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<DescriptorArrival>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.ready(status) }
        }
    }

    deinit { handle.deallocate() }

    /// Waits no longer; the completion is not called.
    public func cancel() {
        guard descriptor >= 0 else { return }
        completion = nil
        let descriptor = self.descriptor
        self.descriptor = -1
        uv_close(EventLoop.base(handle)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<DescriptorArrival>.fromOpaque(data).release()
        }
        Glibc.close(descriptor)
    }

    private func ready(_ status: Int32) {
        let taken = status == 0 ? cl_take_descriptor(descriptor) : status
        guard taken != UV_EAGAIN.rawValue, taken != UV_EINTR.rawValue else { return }
        let completion = self.completion
        cancel()
        stream?.startReading()
        completion?(taken >= 0 ? .success(taken) : .failure(UVError(code: taken)))
    }
}

extension DescriptorArrival: LoopOwned {
    func loopEnded() { cancel() }
}
