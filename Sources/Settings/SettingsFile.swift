// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Reads a small configuration file.
struct SettingsFile {
    /// Past this a file is refused.
    static let maximumBytes = 1 << 20

    let text: String
    /// Whether any user of the host may read it.
    let isWorldReadable: Bool

    init(path: String) throws(SettingsError) {
        // Non-blocking, so that a named pipe or a device cannot hold the start-up.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw SettingsFile.failure(path, "cannot be read", errno) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw SettingsFile.failure(path, "cannot be read", errno) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: throw SettingsError(file: path, "expected a file, found a directory")
        default: throw SettingsError(file: path, "expected a file, found a device, a socket or a pipe")
        }
        guard status.st_size <= SettingsFile.maximumBytes else { throw SettingsFile.tooLarge(path) }
        let bytes = try SettingsFile.contents(descriptor, path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw SettingsError(file: path, line: SettingsFile.firstInvalidLine(bytes), "expected UTF-8 text")
        }
        self.text = text
        isWorldReadable = status.st_mode & S_IROTH != 0
    }

    private static func contents(_ descriptor: Int32, _ path: String) throws(SettingsError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= maximumBytes {
            let count = unsafe read(descriptor, &chunk, chunk.count)
            if count == 0 { return bytes }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure(path, "cannot be read", errno)
            }
            bytes += chunk[..<count]
        }
        throw tooLarge(path)
    }

    private static func firstInvalidLine(_ bytes: [UInt8]) -> Int? {
        bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .firstIndex { String(validating: $0, as: UTF8.self) == nil }.map { $0 + 1 }
    }

    private static func tooLarge(_ path: String) -> SettingsError {
        SettingsError(file: path, "expected at most \(ByteCountFormat.text(maximumBytes)), found a larger file")
    }

    private static func failure(_ path: String, _ what: String, _ code: Int32) -> SettingsError {
        let reason = unsafe String(cString: strerror(code))
        return SettingsError(file: path, "\(what): \(reason)")
    }
}
