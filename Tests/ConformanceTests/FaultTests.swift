// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// Each fault for real: the session ends for the right reason (obligations 9, 11, 12 and 13), and the agent is as it was
    /// before (obligation 32).
    @Suite("Faults") struct FaultTests {
        struct Fault: Sendable, CustomTestStringConvertible {
            var program: String
            var argument: String
            /// The published number, as the program says it: `terminated 3`.
            var indicated: String
            var reason: TerminationReason
            var testDescription: String { "\(program) \(argument)" }

            static let all: [Fault] =
                ["never-add", "never-active"].map {
                    Fault(program: "mirror", argument: $0, indicated: "terminated 2", reason: .providerTimeout)
                }
                + ["fail-add", "fail-active"].map {
                    Fault(program: "mirror", argument: $0, indicated: "terminated 3", reason: .providerOtherFailure)
                }
                + [Fault(program: "mirror", argument: "leave", indicated: "terminated 0", reason: .providerRequest)]
                + [
                    "message-type", "message-size", "message-short", "register-twice", "second-return", "failed",
                    "ring-length", "ring-empty", "ring-kind", "ring-place", "ring-id", "ring-head",
                ].map {
                    Fault(program: "hostile", argument: $0, indicated: "terminated 3", reason: .providerOtherFailure)
                }
                + [
                    Fault(
                        program: "hostile", argument: "message-long", indicated: "closed",
                        reason: .otherCommunicationError),
                    Fault(program: "hostile", argument: "cut", indicated: "closed", reason: .otherCommunicationError),
                    Fault(
                        program: "hostile", argument: "deregister-twice", indicated: "closed", reason: .providerRequest),
                ]
        }

        @Test("ends the session for its reason", arguments: Fault.all)
        func faults(_ fault: Fault) async throws {
            let site = try await Site("fault")
            let child = try site.start(fault.program, fault.argument)
            _ = try await child.ended()
            #expect(child.output.contains("\(fault.indicated)\n"), "\(child.output)\(site.agent.tail())")
            let reason = try await eventually("the reason is told") { site.reasons.last }
            #expect(reason == fault.reason, "\(site.agent.tail())")
            #expect(!child.output.contains("sealed") && site.agent.isRunning && site.mappings == 0)
            await site.end()
        }

        @Test func aSilentConnectionIsClosed() async throws {
            let site = try await Site("silent")
            let child = try site.start("hostile", "silent")
            _ = try await child.ended()
            #expect(child.output == "closed\n" && site.agent.isRunning)
            await site.end()
        }

        @Test("SIGKILL and SIGTERM", arguments: [SIGKILL, SIGTERM])
        func killed(_ signal: Int32) async throws {
            let site = try await Site("killed")
            let mirror = try site.start("mirror", "well")
            try await mirror.says("active")
            mirror.signal(signal)
            let reason = try await eventually("the reason is told") { site.reasons.last }
            #expect(reason == (signal == SIGKILL ? .otherCommunicationError : .providerRequest))
            await site.end()
        }

        /// Obligation 10: the provider hears of it before the connection ends.
        @Test func theAgentStops() async throws {
            let site = try await Site("stops")
            let mirror = try site.start("mirror", "well")
            try await mirror.says("active")
            site.agent.signal(SIGTERM)
            #expect(try await mirror.ended() == 0)
            #expect(mirror.output.contains("terminated 1\nderegistered\ndestroyed\n"))
            await site.end()
        }

        /// The second of two agents in one folder says how each has a socket of its own, and takes this one when it is free.
        @Test func twoAgentsInOneFolder() async throws {
            let first = try await Site("folder")
            let settings = try String(contentsOfFile: "\(first.folder)/agent.toml", encoding: .utf8)
            try settings.replacing("agent.sock", with: "second.sock").replacing(
                "relay =", with: "key = \"second\"\nrelay ="
            )
            .write(toFile: "\(first.folder)/second.toml", atomically: true, encoding: .utf8)
            try Site.makeKey("\(first.folder)/second")
            let second = try Child(
                "second", [Natfwt.binary, "agent", "--config", "\(first.folder)/second.toml"], directory: first.folder)
            let line = try await second.says("no provider can register")
            #expect(line.contains("[providers] socket = ") && line.contains("CPNATFWT_SOCKET=PATH"), "\(line)")
            first.agent.signal(SIGTERM)
            let mirror = try await eventually("a provider registers with the second\(second.tail())") { () -> Child? in
                let mirror = try first.start("mirror", "well")
                try await until("it is in, or out") { !mirror.isRunning || mirror.output.contains("active") }
                return mirror.isRunning ? mirror : nil
            }
            for child in [mirror, second] { await child.destroy() }
            await first.end()
        }

        /// A provider that is stopped does not take what it is asked: here whether it reaches a node.
        @Test func aStoppedProviderTimesOut() async throws {
            let site = try await Site("stopped")
            let mirror = try site.start("mirror", "well")
            try await mirror.says("active")
            try await until("it is active") { try await site.natfwt("providers").contains("): active") }
            mirror.signal(SIGSTOP)
            async let ping = site.natfwt("ping", "2001:21::1", "--count", "1")
            let reason = try await eventually("the reason is told") { site.reasons.last }
            #expect(reason == .providerTimeout)
            _ = try await ping
            mirror.signal(SIGKILL)
            await site.end()
        }

        /// Thousands of faults leave nothing behind: 500 unless NATFWT_FAULTS says more.
        @Test func manyFaultsLeaveNothing() async throws {
            let count = ProcessInfo.processInfo.environment["NATFWT_FAULTS"].flatMap { Int($0) } ?? 500
            let site = try await Site("many", more: "[log]\nlevel = \"critical\"\n")
            func fuzz(_ seed: Int, _ count: Int) async throws {
                let child = try site.start("hostile", "fuzz", "\(seed)", "\(count)")
                #expect(
                    try await child.ended(within: .seconds(600)) == 0, "seed \(seed): \(child.log)\(site.agent.tail())")
            }
            // Once for what is made at the first use.
            try await fuzz(1, 200)
            try await until("the first sessions are gone") { site.mappings == 0 }
            let (descriptors, memory) = (site.descriptors, site.memory)
            try await fuzz(1_000, count)
            try await until("nothing is left") { site.mappings == 0 && site.descriptors <= descriptors }
            #expect(site.memory < memory + 4_096, "\(memory) kB before, \(site.memory) kB after")
            #expect(site.agent.isRunning)
            await site.end()
        }

        /// What the fuzzers have found, each file another outcome: Programs/hostile.c and fuzz_library.c make and read them.
        static func corpus(_ side: String) throws -> [String] {
            let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Corpus/\(side)").path
            return try FileManager.default.contentsOfDirectory(atPath: folder).sorted().map { "\(folder)/\($0)" }
        }

        @Test func theAgentSurvivesTheCorpus() async throws {
            let site = try await Site("corpus")
            let files = try Self.corpus("agent")
            let child = try Child(
                "corpus", ["\(try #require(Built.folder))/hostile", "replay"] + files,
                environment: ["CPNATFWT_SOCKET": "\(site.folder)/providers.sock"], directory: site.folder)
            #expect(try await child.ended() == 0, "\(child.log)\(site.agent.tail())")
            try await until("nothing is left") { site.mappings == 0 }
            let ends = site.agent.log.matches(of: /message="([^"]*)" provider=\w+\/hostile/).map { String($0.1) }
            #expect(Set(ends).count >= 6 && site.agent.isRunning, "\(Set(ends))")
            await site.end()
        }

        @Test func theLibrarySurvivesTheCorpus() async throws {
            let built = try #require(Built.folder)
            let child = try Child(
                "corpus", ["\(built)/fuzz_library", "replay"] + (try Self.corpus("library")), directory: built)
            #expect(try await child.ended() == 0, "\(child.log)")
        }

        /// An agent that ends while the provider speaks: the reason is heard, and not only that the connection broke.
        @Test func theLastWordIsHeard() async throws {
            let built = try #require(Built.folder)
            let child = try Child("last-word", ["\(built)/fuzz_library", "last-word"], directory: built)
            #expect(try await child.ended() == 0, "\(child.log)")
        }

        /// What a provider hands back of what it was sent is not copied, where the agent understands that.
        @Test func buffersAreHandedBackByTheirPlace() async throws {
            let built = try #require(Built.folder)
            let child = try Child("by-place", ["\(built)/fuzz_library", "by-place"], directory: built)
            #expect(try await child.ended() == 0, "\(child.log)")
        }

        @Test func theLibrarySurvivesAMadAgent() async throws {
            let built = try #require(Built.folder)
            let child = try Child("fuzz", ["\(built)/fuzz_library", "7", "500"], directory: built)
            #expect(try await child.ended(within: .seconds(120)) == 0, "\(child.log)")
        }
    }
}
