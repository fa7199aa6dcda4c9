// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
internal import EventLoop
internal import Glibc

/// The folder with the sockets of runs, beside the admin socket. Everyone may pass through it and nobody can look into it:
/// who may use a socket is said by the socket's own mode, and its owner is the run's user.
struct RunDirectory {
    private let path: String

    init(beside adminSocket: String) { path = "\(adminSocket).runs" }

    /// Removes what an agent has left that was killed.
    func clean() {
        guard let directory = unsafe opendir(path) else { return }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { unsafe unlink("\(path)/\(name)") }
        }
        unsafe closedir(directory)
    }

    /// A path at which nothing is.
    func newPath() throws(UVError) -> String {
        guard unsafe mkdir(path, 0o711) == 0 || errno == EEXIST, unsafe chmod(path, 0o711) == 0 else {
            throw UVError(code: -errno)
        }
        let digits = SecureRandom.bytes(8).map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0\(text)" : text
        }
        return "\(path)/\(digits.joined())"
    }
}
