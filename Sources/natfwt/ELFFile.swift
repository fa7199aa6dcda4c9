// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What the program headers of a 64-bit ELF file say (gABI 4.1, "Program Header").
struct ELFFile {
    /// Whether it names a loader (PT_INTERP), which can load more into it.
    let hasLoader: Bool
    /// Whether Go's linker has left its build ID, linked dynamically or not.
    let isGo: Bool

    private static let interpreter = 3
    private static let note = 4

    /// Nil for what is no such file, or can't be read.
    init?(_ path: String) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard let header = ELFFile.read(descriptor, at: 0, count: 64),
            header.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2])
        else { return nil }
        let start = ELFFile.number(header[32..<40])
        let (size, count) = (ELFFile.number(header[54..<56]), ELFFile.number(header[56..<58]))
        guard size >= 56, let table = ELFFile.read(descriptor, at: start, count: size * count) else { return nil }
        let entries = (0..<count).map { table[$0 * size..<($0 + 1) * size] }
        hasLoader = entries.contains { ELFFile.number($0.prefix(4)) == ELFFile.interpreter }
        isGo = entries.contains { entry in
            guard ELFFile.number(entry.prefix(4)) == ELFFile.note else { return false }
            let place = ELFFile.number(entry.dropFirst(8).prefix(8))
            let length = ELFFile.number(entry.dropFirst(32).prefix(8))
            return ELFFile.read(descriptor, at: place, count: length).map(ELFFile.hasGoNote) ?? false
        }
    }

    /// Whether one of the notes is called "Go" (cmd/link: type 4, the build ID). Each has the lengths of its name and its
    /// content, its type, and both, padded to four bytes.
    private static func hasGoNote(_ notes: [UInt8]) -> Bool {
        var rest = notes[...]
        while rest.count >= 12 {
            let lengths = [rest.prefix(4), rest.dropFirst(4).prefix(4)].map { (number($0) + 3) / 4 * 4 }
            if number(rest.prefix(4)) == 4, rest.dropFirst(12).starts(with: [0x47, 0x6F, 0, 0]) { return true }
            rest = rest.dropFirst(12 + lengths[0] + lengths[1])
        }
        return false
    }

    private static func read(_ descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
        guard (1...65_536).contains(count), offset >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        let found = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, count, offset) }
        return found == count ? bytes : nil
    }

    /// Little-endian, as all that Swift runs on; at most 48 bits.
    private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.reversed().reduce(0) { ($0 << 8 | Int($1)) & 0xFFFF_FFFF_FFFF }
    }
}
