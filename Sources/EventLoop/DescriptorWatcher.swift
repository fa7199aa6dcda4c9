// SPDX-License-Identifier: Apache-2.0

import CUV
import Glibc

/// What reads from a descriptor, and is told when it can. At the loop's end it is the one to close.
protocol DescriptorReader: LoopOwned {
    /// There is something to read. With a negative status libuv has met an error and watches no longer.
    func descriptorReady(_ status: Int32)
}

/// Owns a descriptor, and tells its reader when there is something to read. Kept by libuv's handle, as its reader is by it,
/// until it is closed: whatever is open lives.
final class DescriptorWatcher {
    /// -1 once closed.
    private(set) var descriptor: Int32
    /// Who is told; set it before ``start()``.
    var reader: (any DescriptorReader)?
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)

    /// Takes over a descriptor, also where it throws.
    init(adopting descriptor: Int32, loop: EventLoop) throws(UVError) {
        self.descriptor = descriptor
        let status = uv_poll_init(loop.uv, handle, descriptor)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { handle.deallocate() }

    var isOpen: Bool { descriptor >= 0 }

    /// Watches from now on.
    func start() {
        guard descriptor >= 0 else { return }
        uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, status, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<DescriptorWatcher>.fromOpaque(data)._withUnsafeGuaranteedRef {
                $0.reader?.descriptorReady(status)
            }
        }
    }

    /// Watches no longer.
    func stop() {
        if descriptor >= 0 { uv_poll_stop(handle) }
    }

    /// Closes the descriptor and lets the reader go, which is not called any more.
    func close() {
        guard descriptor >= 0 else { return }
        let closed = descriptor
        descriptor = -1
        reader = nil
        uv_close(EventLoop.base(handle)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<DescriptorWatcher>.fromOpaque(data).release()
        }
        Glibc.close(closed)
    }
}

extension DescriptorWatcher: LoopOwned {
    func loopEnded() { if let reader { reader.loopEnded() } else { close() } }
}
