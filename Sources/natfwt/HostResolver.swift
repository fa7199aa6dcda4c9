// SPDX-License-Identifier: Apache-2.0

import Glibc
import Primitives

/// Has this host's programs ask one more name server: systemd-resolved for one domain of one interface, which it forgets with
/// the interface; without it by a line before the others in /etc/resolv.conf, which stands under a mark, so that it is found
/// and removed after a kill -9 too.
struct HostResolver {
    /// What may go wrong, for a person.
    struct Failure: Error { let message: String }

    private static let file = "/etc/resolv.conf"
    private static let mark = "# natfwt adapter: the next line goes when it ends"
    private static let longest = 64 << 10

    /// Whether the file has a line to remove.
    private var hasLine = false

    /// Tells the host of the server. The caller has removed what another one, that was killed, has left.
    mutating func add(_ server: IPAddress, suffix: String, interface: String) throws(Failure) {
        if DefaultPlace.exists("/run/systemd/resolve/io.systemd.Resolve") {
            try HostResolver.resolvectl("dns", interface, server.description)
            return try HostResolver.resolvectl("domain", interface, "~\(suffix)")
        }
        let text = try HostResolver.read()
        try HostResolver.write("\(HostResolver.mark)\nnameserver \(server)\n" + text)
        hasLine = true
    }

    /// Takes it back.
    mutating func remove() throws(Failure) {
        guard hasLine else { return }
        hasLine = false
        try HostResolver.clean()
    }

    /// Removes what was left.
    static func clean() throws(Failure) {
        let text = try read()
        let clean = without(text)
        if clean != text { try write(clean) }
    }

    /// The text without the mark, and the line under it.
    private static func without(_ text: String) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        while let index = lines.firstIndex(where: { $0 == mark }) {
            let isFollowed = index + 1 < lines.count && lines[index + 1].hasPrefix("nameserver ")
            lines.removeSubrange(index...(isFollowed ? index + 1 : index))
        }
        return lines.joined(separator: "\n")
    }

    // MARK: The file

    /// Empty where there is none.
    private static func read() throws(Failure) -> String {
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return "" }
            throw failure("read")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: longest)
        let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw failure("read") }
        guard count < bytes.count, let text = String(validating: bytes[..<count], as: UTF8.self) else {
            throw Failure(message: "\(file) is not changed: it is no text of less than 64 KiB")
        }
        return text
    }

    /// In place, since it may be a link, or mounted; and never empty in between.
    private static func write(_ text: String) throws(Failure) {
        let descriptor = unsafe open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure("write") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard unsafe Glibc.write(descriptor, bytes, bytes.count) == bytes.count,
            ftruncate(descriptor, bytes.count) == 0
        else { throw failure("write") }
    }

    private static func failure(_ what: String) -> Failure {
        Failure(message: "can't \(what) \(file): \(unsafe String(cString: strerror(errno)))")
    }

    // MARK: systemd-resolved

    private static func resolvectl(_ arguments: String...) throws(Failure) {
        let words = ["resolvectl"] + arguments
        let argv = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe argv.forEach { unsafe free($0) } }
        var process: pid_t = 0
        var status: Int32 = 0
        let code = unsafe posix_spawnp(&process, "resolvectl", nil, nil, argv, environ)
        guard code == 0 else {
            throw Failure(message: "resolvectl: \(unsafe String(cString: strerror(code)))")
        }
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else { throw Failure(message: "\(words.joined(separator: " ")) has failed") }
    }
}
