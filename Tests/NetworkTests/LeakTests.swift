// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitors (thousands, short; and bulk) ──▶ relay:7000 ═══ agent ──▶ echo
    ///
    /// After the load everything is as it was: descriptors to the one, memory within a bound. NATFWT_LONG=1 makes it
    /// 100,000 connections and 10 GiB each way.
    @Suite("Nothing leaks, nothing is lost")
    struct LeakTests {
        static let connections = longLoad ? 100_000 : 3_000
        static let bulk = longLoad ? 10 << 30 : 128 << 20
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        /// Runs `load`, and expects the programs to hold afterwards what they held before.
        private func expectNoLeak(
            _ deployment: Deployment, memoryKiB bound: Int, within deadline: Duration = patience,
            _ load: () async throws -> Void
        ) async throws {
            let programs = [try deployment.relay(), try deployment.agent()]
            try await load()
            let before = programs.map { ($0.descriptors, $0.memoryKiB) }
            try await load()
            for (program, (descriptors, memory)) in zip(programs, before) {
                try await until(
                    "\(program.name) has \(descriptors) descriptors again: \(program.descriptors)", within: deadline
                ) { program.descriptors <= descriptors }
                #expect(program.memoryKiB < memory + bound, "\(program.name) had \(memory) KiB")
            }
        }

        @Test("short connections: each is answered, none leaves anything")
        func shortConnections() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                let server = try lab.home.start(["socat", "TCP-LISTEN:7000,fork,reuseaddr,backlog=1024", "PIPE"])
                try await server.opens(7000)
                try await server.stop()
                _ = try await lab.home.serve(port: 7000, "echo")
                try await expectNoLeak(deployment, memoryKiB: 20_000) {
                    let result = try await lab.visitor.run(
                        script: "crowd", ["visit", "203.0.113.10", "7000", "\(Self.connections)", "64", "64"],
                        within: .seconds(500))
                    #expect(result.output.contains("\"ok\": \(Self.connections), \"failed\": 0"), "\(result)")
                }
            }
        }

        @Test("bulk arrives whole, both ways at once")
        func bulk() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                let up = try await lab.home.serve(port: 7000, "drain; close")
                try await expectNoLeak(deployment, memoryKiB: 40_000) {
                    let talk = try await lab.visitor.talk(
                        to: "203.0.113.10", port: 7000, "send \(Self.bulk); fin; drain", within: .seconds(500))
                    #expect(talk.sent == Self.bulk && talk.end == "eof")
                }
                let expected = try await Talk.expected(Self.bulk)
                try await until("the service tells") { try Talk.all(in: up.output).count == 2 }
                #expect(try Talk.all(in: up.output).allSatisfy { $0.received == Self.bulk && $0.sha256 == expected })
                await up.destroy()
                _ = try await lab.home.serve(port: 7000, "send \(Self.bulk); fin; drain")
                let down = try await lab.visitor.talk(
                    to: "203.0.113.10", port: 7000, "drain", within: .seconds(500))
                #expect(down.received == Self.bulk && down.sha256 == expected && down.end == "eof")
            }
        }

        @Test("aborted connections leave nothing")
        func aborted() async throws {
            // frp #5425: each aborted download left memory on the server.
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "send 100000000")
                try await expectNoLeak(deployment, memoryKiB: 20_000) {
                    for _ in 1...15 {
                        _ = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "read 50000; reset")
                    }
                }
            }
        }

        @Test("a visitor that does not read costs no more than its window, and slows nobody down")
        func stalled() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "send 300000000; fin; drain")
                let programs = [try deployment.relay(), try deployment.agent()]
                let before = programs.map(\.memoryKiB)
                let stalled = try lab.visitor.start(
                    script: "talk", ["connect", "203.0.113.10", "7000", "read 1; pause 100000"])
                let talk = try await lab.visitor.talk(
                    to: "203.0.113.10", port: 7000, "drain; fin", within: .seconds(60))
                #expect(talk.received == 300_000_000 && talk.end == "eof")
                #expect(stalled.isRunning)
                for (program, memory) in zip(programs, before) {
                    #expect(program.memoryKiB < memory + 64_000, "\(program.name) had \(memory) KiB")
                }
            }
        }

        @Test("UDP flows end when idle, and their descriptors with them")
        func flows() async throws {
            let udp = Exposure(.udp, "127.0.0.1:5353", port: 5353)
            let short: Tables = ["timeouts": ["udp-flow": "\"1s\""]]
            try await Lab.deployed([udp], relay: short, agent: short) { deployment in
                let lab = deployment.lab
                let server = try lab.home.start(script: "udp", ["serve", "127.0.0.1", "5353"])
                try await server.says("ready")
                let agent = try deployment.agent()
                let before = agent.descriptors
                for _ in 1...10 {
                    let result = try await lab.visitor.run(script: "udp", ["ask", "203.0.113.10", "5353", "3", "100"])
                    #expect(result.output.contains("\"answered\": 3"), "\(result)")
                }
                try await until("the flows are gone: \(before), now \(agent.descriptors)") {
                    agent.descriptors <= before
                }
            }
        }
    }
}
