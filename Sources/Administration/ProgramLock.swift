// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// What one program at a time may have: a file or a folder, locked (flock(2)) from the program's start to its end, or until it
/// is let go. However the program ends, the kernel lets it go.
public final class ProgramLock {
    private var descriptor: Int32

    /// Takes the lock at once, or never. Where the file can't be opened, or its file system knows no locks, nothing is locked:
    /// whoever needs the file tells that better.
    /// - Parameter problem: what to say where another program has it.
    public init(_ path: String, problem: String) throws(StartFailure) {
        descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
        close(descriptor)
        descriptor = -1
        throw StartFailure(status: .unavailable, message: "\(path): \(problem)")
    }

    deinit { release() }

    /// Lets it go, so that the next program may begin while this one ends.
    public func release() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }
}
