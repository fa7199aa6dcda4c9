// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A small text file that others write, read again when it has changed.
public struct ChangingFile {
    public let path: String
    private let limit: Int
    private var seen: Version?

    /// What tells one content of the file from the next.
    private struct Version: Equatable {
        var inode: ino_t
        var size: off_t
        var seconds: Int
        var nanoseconds: Int
    }

    /// - Parameter limit: bytes that are read at most.
    public init(path: String, limit: Int = 64 << 10) {
        self.path = path
        self.limit = limit
    }

    /// The content, at the first call and whenever the file is another than at the last; nil where it is the same, and
    /// where it can't be read, so that what was read last goes on to hold. Two system calls where nothing has changed.
    public mutating func contentIfChanged() -> String? {
        // Whatever is in its place, such as a pipe without a writer, keeps nobody waiting.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { return nil }
        let version = Version(
            inode: status.st_ino, size: status.st_size, seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec)
        guard version != seen else { return nil }
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = read(file, &bytes, limit)
        guard count >= 0 else { return nil }
        seen = version
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
