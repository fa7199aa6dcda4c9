// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// Providers in C against the real agent.
@Suite("Providers of other programs", .serialized, .enabled(if: Natfwt.isBuilt && Built.folder != nil))
enum ConformanceTests {}

extension ConformanceTests {
    @Suite("Obligations") struct ObligationTests {
        /// Programs/obligations.c says one line for each thing it looks at.
        @Test func everyFunctionKeepsWhatItPromises() async throws {
            let site = try await Site("obligations")
            let child = try site.start("obligations")
            let code = try await child.ended()
            let lines = child.output.split(separator: "\n")
            #expect(lines.filter { !$0.hasPrefix("ok ") } == [], "\(site.agent.tail())")
            #expect(code == 0 && lines.count > 50)
            let numbers = Set(lines.compactMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } })
            #expect(numbers.isSuperset(of: [1, 3, 4, 5, 6, 7, 8, 9, 14, 15, 19, 20, 21, 22, 24, 25, 26, 27, 30, 31]))
            await site.end()
        }

        /// Each of the 32 obligations is cited by a test in this folder, or looked at under its number by a program.
        @Test func everyObligationHasItsTest() throws {
            let folder = URL(filePath: #filePath).deletingLastPathComponent().path
            let files = try FileManager.default.subpathsOfDirectory(atPath: folder)
            var cited = Set<Int>()
            for file in files where file.hasSuffix(".swift") || file.hasSuffix(".c") {
                let text = try String(contentsOfFile: "\(folder)/\(file)", encoding: .utf8)
                for match in text.matches(of: /[Oo]bligations? ((?:\d+(?:, | and )?)+)|check\((\d+),/) {
                    let numbers = "\(match.1 ?? "") \(match.2 ?? "")".split { !$0.isNumber }
                    cited.formUnion(numbers.compactMap { Int($0) })
                }
            }
            #expect(Set(1...32).subtracting(cited) == [])
        }

        /// Obligation 16, also where the last instance is destroyed from within its terminate indication.
        @Test func theLibraryCanBeUnloaded() async throws {
            let site = try await Site("unload")
            let child = try site.start("unload", "\(try #require(Built.folder))/libcpnatfwt.so.1", "40")
            #expect(try await child.ended() == 0, "\(child.log)\(site.agent.tail())")
            await site.end()
        }

        /// Obligation 2, and what `natfwt providers` tells.
        @Test func providersAreTold() async throws {
            let site = try await Site("told")
            let mirror = try site.start("mirror", "well")
            try await mirror.says("active")
            let json = try await eventually("the session is active") {
                let text = try await site.natfwt("providers", "--json")
                return text.contains(#""state":"active""#) ? text : nil
            }
            #expect(json.contains(#""interface":"Connectivity Platform Adapter #"#))
            #expect(json.contains(#""process":\#(mirror.pid)"#))
            let text = try await site.natfwt("providers")
            #expect(text.contains("mirror (process \(mirror.pid)): active"), "\(text)")
            mirror.signal(SIGKILL)
            let after = try await eventually("its end is told") {
                let text = try await site.natfwt("providers")
                return text.contains("communication error") ? text : nil
            }
            #expect(after.hasPrefix("no provider is registered"))
            await site.end()
        }

        @Test(
            "the header compiles as C11 and C++17",
            arguments: [
                "gcc -x c -std=c11", "g++ -x c++ -std=c++17", "clang -x c -std=c11", "clang++ -x c++ -std=c++17",
            ])
        func headerCompiles(_ command: String) throws {
            let words = command.split(separator: " ").map(String.init)
            guard let compiler = Built.compiler(words[0]) else { return }
            let source = "\(try #require(Built.folder))/header-\(words[0]).c"
            try
                "#include <cpnatfwt.h>\n#include <cpnatfwt.h>\nint main(void) { return FAILED(S_OK) + (CPNATFWT_PENDING == S_OK); }\n"
                .write(toFile: source, atomically: true, encoding: .utf8)
            let arguments =
                [compiler] + words.dropFirst() + [
                    "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", try #require(Built.folder),
                    source,
                ]
            let process = Process()
            process.executableURL = URL(filePath: arguments[0])
            process.arguments = Array(arguments.dropFirst())
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
        }

        @Test func theTrialTellsGoodFromBad() async throws {
            let built = try #require(Built.folder)
            let bad = try Child(
                "trial", [Natfwt.binary, "conformance", "\(built)/mirror", "fail-add"], directory: built)
            #expect(try await bad.ended() == 1)
            #expect(bad.output.contains("BROKEN 25"))
            for (script, ending) in [
                ("exit 3", "it has ended, with status 3"), ("kill -9 $$", "signal 9 has ended it"),
            ] {
                let short = try Child(
                    "trial", [Natfwt.binary, "conformance", "--", "/bin/sh", "-c", script], directory: built)
                #expect(try await short.ended() == 1)
                #expect(short.output.contains("BROKEN 25") && short.output.contains("(\(ending))"), "\(short.log)")
            }
            try "".write(toFile: "\(built)/no-peers", atomically: true, encoding: .utf8)
            let good = try Child(
                "trial", [Natfwt.binary, "conformance", "\(built)/udp-provider", "0", "\(built)/no-peers"],
                directory: built)
            #expect(try await good.ended() == 0, "\(good.output)")
            #expect(!good.output.contains("BROKEN"))
        }
    }
}
