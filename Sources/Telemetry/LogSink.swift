// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Where log lines go. Called from any thread.
public protocol LogSink: Sendable {
    /// Writes one line, its line end included, or gives false: then it is lost. Never blocks, never fails otherwise.
    func write(_ line: [UInt8]) -> Bool
}

/// The standard error of the process. A full pipe, a full disk, a closed or broken descriptor lose lines, nothing more.
public struct StandardError: LogSink {
    /// From now on the process is not killed by SIGPIPE: a broken pipe is an error like any other.
    public init() { signal(SIGPIPE, SIG_IGN) }

    /// One write(2) at most; false where standard error does not take the whole line at once.
    public func write(_ line: [UInt8]) -> Bool {
        // A pipe whose reader is stuck must not hold the loop: what is ready takes a line (at most PIPE_BUF) at once.
        var descriptor = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        guard unsafe poll(&descriptor, 1, 0) == 1, descriptor.revents & Int16(POLLOUT) != 0 else { return false }
        var written: Int
        repeat { written = unsafe Glibc.write(STDERR_FILENO, line, line.count) } while written < 0 && errno == EINTR
        return written == line.count
    }
}

/// The descriptors 0, 1 and 2.
public enum StandardDescriptors {
    /// Opens /dev/null in place of those that are closed, so that no socket gets their number and no log line or printed
    /// text goes to a peer. To be called first of all.
    public static func fill() {
        while true {
            let descriptor = unsafe open("/dev/null", O_RDWR)
            guard descriptor >= 0 else { return }
            guard descriptor <= STDERR_FILENO else {
                close(descriptor)
                return
            }
        }
    }
}
