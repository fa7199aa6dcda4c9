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

    /// Whether an ELF file names no loader (PT_INTERP), so that nothing can be loaded into it.
    var isStatic: Bool {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // Program headers of 64-bit files: gABI 4.1, "ELF Header".
        guard let header = ProgramFile.read(descriptor, at: 0, count: 64),
            header.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2])
        else {
            return false
        }
        let start = ProgramFile.number(header[32..<40])
        let (size, count) = (ProgramFile.number(header[54..<56]), ProgramFile.number(header[56..<58]))
        guard size >= 56, let table = ProgramFile.read(descriptor, at: start, count: size * count) else { return false }
        let interpreter = 3
        return !(0..<count).contains { ProgramFile.number(table[$0 * size..<$0 * size + 4]) == interpreter }
    }

    private static func read(_ descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
        guard (1...65_536).contains(count), offset >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        let found = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, count, offset) }
        return found == count ? bytes : nil
    }

    /// Little-endian, as all that Swift runs on.
    private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.reversed().reduce(0) { ($0 << 8 | Int($1)) & 0xFFFF_FFFF_FFFF }
    }
}
