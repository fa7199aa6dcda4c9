// SPDX-License-Identifier: Apache-2.0

import CLinux
import Primitives

extension EventLoop {
    /// Buffers of each pool that are kept while little moves.
    private static let idleBuffers = 4

    /// Gives memory back that a burst has left behind: buffers that nobody has leased since the last call, and what the
    /// allocator keeps; and, the first time, the code that only the start has run. To be called about once a second; costs nothing where nothing is left.
    public func releaseIdleMemory() {
        let freed =
            buffers.trimUnused(keeping: EventLoop.idleBuffers)
            + carrierBuffers.trimUnused(keeping: EventLoop.idleBuffers)
        if freed > 0 { idleMemoryIsTrimmed = false }
        guard freed == 0, !idleMemoryIsTrimmed else { return }
        idleMemoryIsTrimmed = true
        malloc_trim(256 << 10)
        cl_forget_code_pages()
    }
}
