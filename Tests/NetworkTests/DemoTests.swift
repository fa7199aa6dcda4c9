// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// `deploy/demo`, whole, with the program that was built beside the tests.
    @Suite(
        "The demo", .enabled(if: Tool.has("curl", "nft", "pgrep", "dpkg-query"), "needs curl, nft, procps and Debian"))
    struct DemoTests {
        /// A compiler is what its last part needs, and the library of `natfwt run`.
        private static let hasCompiler = Tool.has("cc")
        private static let page = "This page comes from a host behind a NAT."
        private static let end = "What you saw:"

        /// What each fetch is to say, with one space for many.
        private static var fetches: [String] {
            [
                "ok curl http://100.64.0.2:80/ (the home's router) no answer",
                "ok curl http://203.0.113.10:8080/ \(page)",
                "ok curl http://[2001:db8:113::10]:8080/ \(page)",
                "ok curl http://relay.test:8080/ \(page)",
                "ok UDP 'hello' to 203.0.113.10 port 7007 echo: hello",
                "ok UDP 'hello' to 2001:db8:113::10 port 7007 echo: hello",
                "ok UDP 'hello' to relay.test port 7007 echo: hello",
                "ok curl http://localhost:8000/ \(page)",
                "ok curl --socks5-hostname … http://home.natfwt.internal/ \(page)",
                "ok … port 7, which home does not serve refused",
            ]
                + (hasCompiler
                    ? [
                        "ok natfwt run -- curl http://home.natfwt.internal/ \(page)",
                        "ok curl http://localhost:8000/ \(page)",
                        "ok bytes that the provider has carried some",
                    ] : [])
        }

        /// The subcommands that it shows, however often.
        private static var commands: Set<String> {
            Set(["relay", "invite", "join", "agent", "forward", "socks", "ping"])
                .union(hasCompiler ? ["run", "status", "providers"] : [])
        }

        /// Builds the library that stands beside the program only where somebody has built it; once.
        private static let library = Task {
            guard hasCompiler else { return "" }
            let root = URL(fileURLWithPath: Lab.scripts + "/../../..").standardized.path
            let folder = (Natfwt.binary as NSString).deletingLastPathComponent
            let build = try Child(
                "interposer", ["\(root)/deploy/interposer", folder], directory: NSTemporaryDirectory())
            return try await build.ended() == 0 ? "" : build.log
        }

        @Test("two at once, beside what is left of one that was killed, show what they say, and leave nothing")
        func whole() async throws {
            #expect(try await Self.library.value == "")
            try await DemoStage.run { stage in
                let killed = try stage.start()
                try await killed.child.says("natfwt join")
                let group = try #require(killed.group)
                killed.child.signal(SIGKILL)
                #expect(try await killed.child.ended() == 128 + SIGKILL)
                #expect(!killed.leftovers.isEmpty)
                let shows = [try stage.start(), try stage.start()]
                for show in shows {
                    let code = try await show.child.ended(within: .seconds(90))
                    #expect(code == 0 && show.child.errors.isEmpty, "\(code)\n\(show.child.log)")
                    #expect(show.results == Self.fetches)
                    #expect(show.child.output.contains(Self.end), "\(show.child.output)")
                    #expect(show.child.output.contains(#/ home \(2001:2[0-9a-f:]+\): 1: [0-9.]+ ms through the relay/#))
                    #expect(show.leftovers == [])
                }
                #expect(Set(stage.started.map(\.command)).isSuperset(of: Self.commands))
                // Its shell may be waiting for something that comes no more.
                try await until("the killed one is gone: \(killed.leftovers)") {
                    killed.leftovers.isEmpty && Processes.inGroup(group).isEmpty
                }
                #expect(stage.leftovers == [])
            }
        }

        struct Interruption: Sendable, CustomTestStringConvertible {
            enum Moment {
                /// It has said this.
                case says(String)
                /// It has started this command.
                case runs(String)
            }

            var signal: Int32
            var moment: Moment
            /// Whether it comes from a terminal, which tells all in its foreground.
            var fromTerminal = false
            /// The command at which it would stay otherwise.
            var last = "ping"

            var testDescription: String { "\(signal) after \(moment)\(fromTerminal ? ", from a terminal" : "")" }

            static let all =
                [
                    Interruption(signal: SIGINT, moment: .says("Getting ready"), fromTerminal: true),
                    Interruption(signal: SIGTERM, moment: .says("A small Internet")),
                    Interruption(signal: SIGHUP, moment: .says("Without natfwt"), fromTerminal: true),
                    Interruption(signal: SIGINT, moment: .says("natfwt agent --config")),
                    Interruption(signal: SIGTERM, moment: .runs("ping")),
                ]
                + (hasCompiler
                    ? [
                        Interruption(signal: SIGINT, moment: .runs("run"), fromTerminal: true),
                        Interruption(signal: SIGTERM, moment: .runs("run")),
                        Interruption(signal: SIGINT, moment: .runs("providers"), last: "providers"),
                    ] : [])
        }

        @Test("interrupted it leaves nothing either", arguments: Interruption.all)
        func interrupted(_ interruption: Interruption) async throws {
            #expect(try await Self.library.value == "")
            try await DemoStage.run([interruption.last: .hangs]) { stage in
                let show = try stage.start()
                try await until("\(interruption.moment)\(show.child.tail())") {
                    switch interruption.moment {
                    case .says(let line): show.child.output.contains(line)
                    case .runs(let command): stage.started.contains { $0.command == command }
                    }
                }
                let group = try #require(show.group)
                let pid = show.child.pid
                kill(interruption.fromTerminal ? -pid : pid, interruption.signal)
                let code = try await show.child.ended()
                #expect(code == 128 + interruption.signal, "\(show.child.log)")
                #expect(show.leftovers == [] && Processes.inGroup(group) == [])
                #expect(stage.leftovers == [])
            }
        }

        @Test("a fetch that gives something else is told, and is its exit code", .enabled(if: hasCompiler))
        func wrong() async throws {
            #expect(try await Self.library.value == "")
            try await DemoStage.run(["run": .prints("another page")]) { stage in
                let show = try stage.start()
                #expect(try await show.child.ended(within: .seconds(90)) == 1)
                let line =
                    "WRONG natfwt run -- curl http://home.natfwt.internal/ 'another page' instead of '\(Self.page)'"
                #expect(show.results == Self.fetches.map { $0.contains("natfwt run") ? line : $0 })
                #expect(show.child.errors.contains("demo: 1 of the fetches went wrong"), "\(show.child.errors)")
                #expect(!show.child.output.contains(Self.end))
                #expect(show.leftovers == [])
            }
        }

        @Test(
            "it says what it can't do with its arguments",
            arguments: [(["--program"], 64), (["--programm", "/bin/true"], 64), (["--program", "/nonexistent"], 69)])
        func arguments(_ words: [String], _ code: Int) async throws {
            try await DemoStage.run { stage in
                let show = try stage.start(words)
                #expect(try await show.child.ended() == Int32(code))
                #expect(show.child.errors.hasPrefix("demo: "), "\(show.child.log)")
                #expect(show.leftovers == [])
            }
        }
    }
}
