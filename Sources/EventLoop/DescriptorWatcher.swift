// SPDX-License-Identifier: Apache-2.0

import CUV
import Glibc

/// What reads from a descriptor, and is told when it can. At the loop's end it is the one to close.
protocol DescriptorReader: LoopOwned {
    /// There is something to read, or what else was watched for has happened (``DescriptorWatcher/events``). With a negative
    /// status libuv has met an error and watches no longer.
    func descriptorReady(_ status: Int32)
}

/// Owns a descriptor, and tells its reader when there is something to read. Kept by libuv's handle, as its reader is by it,
/// until it is closed: whatever is open lives.
final class DescriptorWatcher {
    /// -1 once closed.
    private(set) var descriptor: Int32
    /// Who is told; set it before ``start()``.
    var reader: (any DescriptorReader)?
    /// What has happened, of what is watched for: bits of `uv_poll_event`.
    private(set) var events: Int32 = 0
    private var watched: Int32 = 0
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

    /// Watches from now on for something to read.
    func start() { watch(Int32(UV_READABLE.rawValue)) }

    /// Watches for these bits of `uv_poll_event` from now on, and for nothing else. Cheap where nothing changes.
    func watch(_ wanted: Int32) {
        guard descriptor >= 0, wanted != watched else { return }
        watched = wanted
        uv_poll_start(handle, wanted) { handle, status, events in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<DescriptorWatcher>.fromOpaque(data)._withUnsafeGuaranteedRef { watcher in
                // After an error libuv watches no longer.
                if status < 0 { watcher.watched = 0 }
                watcher.events = events
                watcher.reader?.descriptorReady(status)
            }
        }
    }

    /// Watches no longer.
    func stop() { watch(0) }

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
