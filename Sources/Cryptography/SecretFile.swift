// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Why a file with a secret could not be read or made, with its path and what to do about it.
public struct SecretFileError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Problem: Equatable, Sendable {
        case missing
        case directoryMissing
        case alreadyExists
        /// A directory, a device, a pipe.
        case notAFile
        /// Other users may read or change it; the permission bits.
        case readableByOthers(UInt32)
        case tooLarge(maximum: Int)
        case diskFull
        /// Everything else that the system may say, by its error number.
        case system(operation: String, code: Int32)
    }

    public let path: String
    public let problem: Problem

    public init(path: String, problem: Problem) {
        self.path = path
        self.problem = problem
    }

    public var description: String { "\(path): \(reason)" }

    private var reason: String {
        switch problem {
        case .missing: "there is no such file"
        case .directoryMissing: "the directory that it belongs into does not exist; make it first"
        case .alreadyExists: "the file is there already, and is not overwritten"
        case .notAFile: "it is not an ordinary file"
        case .readableByOthers(let mode):
            "other users may read it (mode \(String(mode, radix: 8))); run: chmod 600 \(path)"
        case .tooLarge(let maximum): "it is larger than the \(maximum) bytes that such a file may have"
        case .diskFull: "the disk is full, or a quota is used up"
        case .system(let operation, let code): "cannot \(operation) it: \(String(cString: strerror(code)))"
        }
    }
}

/// Small files that hold a secret: made in one step with mode 0600, and refused where others may read them.
public enum SecretFile {
    /// The whole file. Symbolic links are followed, as secrets are often mounted through them. As with ssh, the mode of
    /// a file that belongs to somebody else (who can read it anyway) is theirs to choose.
    public static func read(_ path: String, atMost maximum: Int = 16_384) throws(SecretFileError) -> [UInt8] {
        // Not blocking: a pipe under that name must not hold up the program.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw SecretFileError(path: path, opening: errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw SecretFileError(path, "read", errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SecretFileError(path: path, problem: .notAFile) }
        if status.st_mode & 0o077 != 0, status.st_uid == geteuid() {
            throw SecretFileError(path: path, problem: .readableByOthers(status.st_mode & 0o7777))
        }
        let bytes = try contents(of: file, path, maximum)
        guard bytes.count <= maximum else { throw SecretFileError(path: path, problem: .tooLarge(maximum: maximum)) }
        return bytes
    }

    /// Makes the file with mode 0600, whole or not at all, whatever happens half-way; never replaces one. Under the final
    /// name it appears when its content is on the disk. What root makes is the folder's owner's.
    public static func create(_ path: String, _ bytes: [UInt8]) throws(SecretFileError) {
        let suffix = SecureRandom.bytes(6).map { String($0, radix: 16) }.joined()
        let temporary = "\(path).\(suffix).new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw SecretFileError(path: path, creating: errno) }
        defer { unlink(temporary) }
        try write(bytes, closing: file, path)
        try name(temporary, path)
        synchronizeDirectory(of: path)
    }

    /// Makes the file with mode 0600, or replaces it, in one step: at no moment is there half of it. Where root does it, it
    /// stays its owner's.
    public static func replace(_ path: String, _ bytes: [UInt8]) throws(SecretFileError) {
        let suffix = SecureRandom.bytes(6).map { String($0, radix: 16) }.joined()
        let temporary = "\(path).\(suffix).new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw SecretFileError(path: path, creating: errno) }
        defer { unlink(temporary) }
        try write(bytes, closing: file, path)
        guard rename(temporary, path) == 0 else { throw SecretFileError(path, "replace", errno) }
        synchronizeDirectory(of: path)
    }

    private static func contents(of file: Int32, _ path: String, _ maximum: Int) throws(SecretFileError) -> [UInt8] {
        // One byte more than allowed tells that there is more, without reading it.
        var bytes = [UInt8](repeating: 0, count: maximum + 1)
        var count = 0
        while count < bytes.count {
            let step = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(file, buffer.baseAddress.map { $0 + count }, buffer.count - count)
            }
            if step == 0 { break }
            if step < 0, errno == EINTR { continue }
            guard step > 0 else { throw SecretFileError(path, "read", errno) }
            count += step
        }
        return Array(bytes.prefix(count))
    }

    private static func write(_ bytes: [UInt8], closing file: Int32, _ path: String) throws(SecretFileError) {
        defer { close(file) }
        // The umask may only take rights away; the owner's own are needed.
        guard fchmod(file, 0o600) == 0 else { throw SecretFileError(path, "protect", errno) }
        giveToOwner(file, path)
        var count = 0
        while count < bytes.count {
            let step = bytes.withUnsafeBytes { buffer in
                Glibc.write(file, buffer.baseAddress.map { $0 + count }, buffer.count - count)
            }
            if step < 0, errno == EINTR { continue }
            guard step > 0 else { throw SecretFileError(path, "write", errno) }
            count += step
        }
        guard fsync(file) == 0 else { throw SecretFileError(path, "write", errno) }
    }

    /// The program of a service runs as a user of its own, and its files are made and changed by root: whose they are by
    /// right is told by the old file, or by the folder.
    private static func giveToOwner(_ file: Int32, _ path: String) {
        guard geteuid() == 0 else { return }
        var status = stat()
        guard lstat(path, &status) == 0 || stat(directory(of: path), &status) == 0, status.st_uid != 0 else { return }
        // Where it can't be given away it is root's, as any file that root makes.
        _ = fchown(file, status.st_uid, status.st_gid)
    }

    private static func directory(of path: String) -> String {
        path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    }

    /// Gives a finished file its name, which must be free: link(2) fails where it is not. On a file system without hard
    /// links the name is claimed with an empty file first, and the finished one then moved over that.
    private static func name(_ temporary: String, _ path: String) throws(SecretFileError) {
        if link(temporary, path) == 0 { return }
        guard errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS else {
            throw SecretFileError(path: path, creating: errno)
        }
        let claim = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard claim >= 0 else { throw SecretFileError(path: path, creating: errno) }
        close(claim)
        guard rename(temporary, path) == 0 else { throw SecretFileError(path, "make", errno) }
    }

    /// So that the name outlives a power cut too. Some file systems can't; the file itself is safe then.
    private static func synchronizeDirectory(of path: String) {
        let file = open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { return }
        fsync(file)
        close(file)
    }
}

extension SecretFileError {
    fileprivate init(_ path: String, _ operation: String, _ code: Int32) {
        let full = code == ENOSPC || code == EDQUOT
        self.init(path: path, problem: full ? .diskFull : .system(operation: operation, code: code))
    }

    fileprivate init(path: String, opening code: Int32) {
        if code == ENOENT { self.init(path: path, problem: .missing) } else { self.init(path, "open", code) }
    }

    fileprivate init(path: String, creating code: Int32) {
        switch code {
        case ENOENT: self.init(path: path, problem: .directoryMissing)
        case EEXIST: self.init(path: path, problem: .alreadyExists)
        default: self.init(path, "make", code)
        }
    }
}
