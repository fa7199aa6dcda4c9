// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Settings

/// What can be wrong with a file before its text is looked at (hazard 35).
@Suite final class SettingsFileTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "settings-\(UUID().uuidString)")

    init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: folder) }

    private func file(_ contents: Data, mode: Int = 0o644) throws -> String {
        let path = folder.appending(path: "a.toml").path
        try contents.write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    private func message(_ path: String) -> String? {
        #expect(throws: SettingsError.self) { try RelaySettings.load(path: path) }?.description
    }

    @Test func fileIsRead() throws {
        let path = try file(Data("\u{FEFF}[limits]\r\n\tnodes = 3\r\n".utf8))
        #expect(try RelaySettings.load(path: path).limits.nodes == 3)
    }

    /// A reload sees what the file says now, and remembers no more than a few files.
    @Test func changedFileIsReadAgain() throws {
        for round in 1...10 {
            let path = try file(Data("[limits]\nnodes = \(round)".utf8))
            #expect(try RelaySettings.load(path: path).limits.nodes == round)
            #expect(try RelaySettings.load(path: path).limits.nodes == round)
        }
        #expect(TOMLDocument.rememberedCount <= TOMLDocument.maximumRemembered)
    }

    @Test func missingFile() {
        #expect(message("\(folder.path)/none") == "\(folder.path)/none: cannot be read: No such file or directory")
    }

    @Test func directory() { #expect(message(folder.path) == "\(folder.path): expected a file, found a directory") }

    @Test func pipeDoesNotHold() {
        let path = folder.appending(path: "pipe").path
        mkfifo(path, 0o600)
        #expect(message(path) == "\(path): expected a file, found a device, a socket or a pipe")
    }

    @Test func device() {
        #expect(message("/dev/zero") == "/dev/zero: expected a file, found a device, a socket or a pipe")
    }

    @Test func largeFile() throws {
        let path = try file(Data(repeating: UInt8(ascii: "\n"), count: 10 << 20))
        #expect(message(path) == "\(path): expected at most 1 MiB, found a larger file")
    }

    @Test func largestFile() throws {
        let path = try file(Data(repeating: UInt8(ascii: "\n"), count: 1 << 20))
        #expect(try RelaySettings.load(path: path) == RelaySettings())
    }

    @Test func notUTF8() throws {
        let path = try file(Data("a = 1\nb = \"".utf8 + [0xFF, 0xFE, 0x22]))
        #expect(message(path) == "\(path):2: expected UTF-8 text")
    }

    @Test func nul() throws {
        let path = try file(Data("[log]\nlevel = \0".utf8))
        #expect(message(path) == "\(path):2: expected text, found a NUL character")
    }

    /// root reads everything: the case exists only for others.
    @Test(.enabled(if: geteuid() != 0)) func unreadableFile() throws {
        let path = try file(Data(), mode: 0)
        #expect(message(path) == "\(path): cannot be read: Permission denied")
    }

    @Test(arguments: [(0o644, 1), (0o640, 0), (0o600, 0)])
    func inviteThatEveryoneMayReadIsTold(mode: Int, warnings: Int) throws {
        let path = try file(Data("invite = \"\(AgentSettingsTests.invite)\"".utf8), mode: mode)
        let settings = try AgentSettings.load(path: path)
        #expect(settings.warnings.count == warnings)
        #expect(settings.warnings.allSatisfy { !$0.contains("natfwt1") })
    }
}
