// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The folders in which a program keeps what it must not lose.
public enum StateDirectory {
    /// A folder could not be made.
    public struct Failure: Error, CustomStringConvertible {
        public var path: String
        public var code: Int32

        public var description: String {
            let reason = unsafe String(cString: strerror(code))
            return "\(path): the folder can't be made (\(reason)); make it, or name another one"
        }
    }

    /// Makes the folder, and those that it lies in, where they are missing. What is made only its owner may enter.
    /// - Returns: the path.
    @discardableResult
    public static func prepare(_ path: String) throws(Failure) -> String {
        try make(path, mode: 0o700)
        return path
    }

    /// Makes the folder of a socket, which others may enter.
    public static func prepareParent(of path: String) throws(Failure) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        try make(String(path[..<slash]), mode: 0o755)
    }

    /// Why a file can't be replaced by one that is made beside it; nil where it can.
    public static func obstacle(toReplacing path: String) -> String? {
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        guard unsafe access(folder, W_OK | X_OK) != 0 else { return nil }
        return "\(folder): \(unsafe String(cString: strerror(errno)))"
    }

    private static func make(_ path: String, mode: mode_t) throws(Failure) {
        var status = stat()
        if unsafe stat(path, &status) == 0 { return }
        try? prepareParent(of: path)
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else { throw Failure(path: path, code: errno) }
    }
}
