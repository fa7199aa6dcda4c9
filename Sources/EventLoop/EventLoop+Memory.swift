// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import Primitives

extension EventLoop {
    /// Buffers of each pool that are kept while little moves.
    private static let idleBuffers = 4
    private static let idlePipes = 2
    /// Page faults since code was let go that make it worth another time: a fault brings in up to 64 KiB.
    private static let manyFaults = 64
    /// In a look's time. Who is busy would only have to fetch its code again.
    private static let littleWork = (faults: 4, microseconds: 5_000)

    /// Gives memory back that a burst has left behind: buffers that nobody has leased since the last call, what the
    /// allocator keeps, and code that has run once (the start, a handshake, a question of `natfwt status`). To be called
    /// about once a second; costs a system call where nothing is left.
    public func releaseIdleMemory() {
        let freed =
            buffers.trimUnused(keeping: EventLoop.idleBuffers)
            + carrierBuffers.trimUnused(keeping: EventLoop.idleBuffers)
        pipes.trim(keeping: EventLoop.idlePipes)
        if freed > 0 { idleMemoryIsTrimmed = false }
        if freed == 0, !idleMemoryIsTrimmed {
            idleMemoryIsTrimmed = true
            malloc_trim(256 << 10)
        }
        forgetCode()
    }

    private func forgetCode() {
        let now = ProcessUsage.current
        let before = usage.atLastLook
        usage.atLastLook = now
        guard now.faults - before.faults <= EventLoop.littleWork.faults,
            now.microseconds - before.microseconds <= EventLoop.littleWork.microseconds,
            now.faults - usage.whenForgotten.faults >= EventLoop.manyFaults
        else { return }
        cl_forget_code_pages()
        usage.whenForgotten = now
    }
}

/// What the process has used since its start.
struct ProcessUsage {
    /// Page faults that no disk had to be read for.
    var faults = 0
    /// Of CPU time.
    var microseconds = 0

    static var current: ProcessUsage {
        var usage = rusage()
        unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        return ProcessUsage(
            faults: usage.ru_minflt,
            microseconds: seconds * 1_000_000 + Int(usage.ru_utime.tv_usec) + Int(usage.ru_stime.tv_usec))
    }
}
