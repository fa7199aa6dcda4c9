// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc

/// A pipe: where the kernel keeps what it has taken from one socket and the other has not taken yet.
struct Pipe {
    let output: Int32
    let input: Int32
    /// Bytes that it holds.
    var count = 0

    func close() {
        Glibc.close(output)
        Glibc.close(input)
    }
}

/// Pipes that are empty, of those that the loop's splices need while bytes are between their sockets: one that carries
/// nothing holds none.
final class PipePool {
    private var free: [Pipe] = []

    /// What a pipe could hold in whole pages, so that it has room for as many parts of a packet's size; the system may give
    /// less to a user who has many.
    private static let capacity: Int32 = 512 << 10
    private static let keepsAtMost = 16

    /// - Returns: nil where the process has no descriptor left.
    func lease() -> Pipe? {
        if let pipe = free.popLast() { return pipe }
        var ends: [Int32] = [-1, -1]
        guard cl_pipe(&ends, PipePool.capacity) == 0 else { return nil }
        return Pipe(output: ends[0], input: ends[1])
    }

    /// Takes back a pipe; one that still holds something is closed.
    func giveBack(_ pipe: Pipe) {
        if pipe.count == 0, free.count < PipePool.keepsAtMost { free.append(pipe) } else { pipe.close() }
    }

    /// Closes those that nobody uses, but for these: where the process has no descriptor left, what is open goes on with them.
    func trim(keeping kept: Int) {
        while free.count > kept, let pipe = free.popLast() { pipe.close() }
    }

    deinit { trim(keeping: 0) }
}
