// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// The library under valgrind: no byte read or written that is not its own, none lost.
    @Suite("Memory of the library", .enabled(if: Tool.has("valgrind"))) struct MemoryTests {
        private func isClean(_ program: String, _ arguments: [String], _ site: Site) async throws {
            let built = try #require(Built.folder)
            let options = ["-q", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes"]
            // A thread's stack that the C library keeps for the next one is possibly lost, and is not.
            let kinds = "--errors-for-leak-kinds=definite,indirect"
            let child = try Child(
                "valgrind", [Tool.path("valgrind")] + options + [kinds, "\(built)/\(program)"] + arguments,
                environment: ["CPNATFWT_SOCKET": "\(site.folder)/providers.sock"], directory: site.folder)
            #expect(try await child.ended(within: .seconds(90)) == 0, "\(child.log)")
        }

        @Test func everyFunction() async throws {
            let site = try await Site("valgrind", deadline: "3s")
            try await isClean("obligations", [], site)
            await site.end()
        }

        @Test func unloading() async throws {
            let site = try await Site("valgrind-unload")
            try await isClean("unload", ["\(try #require(Built.folder))/libcpnatfwt.so.1", "6"], site)
            await site.end()
        }

        @Test func rubbish() async throws {
            let site = try await Site("valgrind-rubbish")
            try await isClean("fuzz_library", ["replay"] + FaultTests.corpus("library"), site)
            await site.end()
        }
    }
}
