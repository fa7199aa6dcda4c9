// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The file of a command, and whether a library can be loaded into it.
struct ProgramFile {
    let path: String

    /// As a shell finds it.
    init?(_ name: String) {
        let folders = (DefaultPlace.environment("PATH") ?? "/usr/local/bin:/usr/bin:/bin").split(
            separator: ":", omittingEmptySubsequences: false)
        let places = name.contains("/") ? [name] : folders.map { $0.isEmpty ? name : "\($0)/\(name)" }
        guard let path = places.first(where: ProgramFile.isProgram) else { return nil }
        self.path = path
    }

    private static func isProgram(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Where a link leads, without the last part.
    static func folder(of link: String) -> String? {
        var bytes = [CChar](repeating: 0, count: 4_096)
        let count = unsafe readlink(link, &bytes, bytes.count)
        guard count > 0 else { return nil }
        let target = String(decoding: bytes.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
        return target.lastIndex(of: "/").map { String(target[..<$0]) }
    }

    // MARK: What the loader makes of it

    /// Whether it runs as another user than its caller.
    var isOtherUsers: Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return false }
        return status.st_mode & S_ISUID != 0 && status.st_uid != geteuid()
    }

    /// Why nothing that is loaded into it sees its connections; nil where it does, as far as the file tells.
    var obstacle: String? {
        guard let file = ELFFile(path) else { return nil }
        if !file.hasLoader { return "is linked statically, or is a program of Go" }
        // Go's own calls of the kernel go past every library.
        return file.isGo ? "is a program of Go" : nil
    }
}
