// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Identity
import TestSupport
import Testing

/// What a person types, and what the real command line makes of it.
@Suite("The command line", .enabled(if: Natfwt.isBuilt, "needs the natfwt program")) struct CommandLineTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Runs the program to its end, in a folder of its own.
    private func natfwt(_ arguments: String...) async throws -> Child { try await run([Natfwt.binary] + arguments) }

    private func run(_ words: [String]) async throws -> Child {
        let child = try Child("natfwt", words, environment: ["HOME": folder.path], directory: folder.path)
        try await child.ended()
        return child
    }

    // MARK: Help

    @Test(arguments: [
        ["run", "--help"], ["run", "-h"], ["run", "--egress", "--help"], ["run", "--way", "preload", "-h", "true"],
        ["conformance", "--help"], ["conformance", "-h"], ["conformance", "--measure", "--help"],
    ]) func help(words: [String]) async throws {
        let child = try await run([Natfwt.binary] + words)
        #expect(child.exitCode == 0 && child.errors.isEmpty, "\(child.log)")
        #expect(child.output.contains("USAGE: natfwt \(words[0])"), "\(child.log)")
    }

    /// Behind `--`, and behind the command's name, nothing is this program's.
    @Test(arguments: [
        (["run", "--", "--help"], Int32(127), "--help: no such command"),
        (["run", "--bogus"], 64, "--bogus: no such option"),
        (["run"], 64, "error: which command?"), (["run", "--"], 64, "error: which command?"),
        (["conformance"], 64, "error: which provider?"), (["conformance", "--bogus"], 64, "--bogus: no such option"),
        (["conformance", "--", "/none"], 69, "/none: no such file"),
    ]) func passedOn(words: [String], code: Int32, message: String) async throws {
        let child = try await run([Natfwt.binary] + words)
        #expect(child.exitCode == code && child.errors.contains(message), "\(child.log)")
    }

    // MARK: Short options

    @Test(arguments: [["-c1"], ["-c", "1"], ["--count=1"], ["-c=1"]]) func joinedCount(option: [String]) async throws {
        for words in [option + ["home"], ["home"] + option] {
            let child = try await run([Natfwt.binary, "ping", "--socket", folder["none"]] + words)
            #expect(child.exitCode == 69 && child.errors.contains("no agent runs here"), "\(words): \(child.log)")
        }
    }

    @Test func negativeCount() async throws {
        let child = try await natfwt("ping", "-c", "-1", "home")
        #expect(child.exitCode == 64 && child.errors.contains("--count takes 1 to"), "\(child.log)")
    }

    @Test(arguments: ["relay", "agent"]) func joinedConfiguration(program: String) async throws {
        let child = try await natfwt(program, "-c\(folder["none.toml"])")
        #expect(child.exitCode == 78 && child.errors.contains(folder["none.toml"]), "\(child.log)")
    }
}
