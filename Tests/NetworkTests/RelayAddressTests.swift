// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitor ──▶ relay ═══ agent (SIGHUP: another list of the relay's addresses) ──▶ service
    ///
    /// Where the relay is, as the agent's settings and its status say it.
    @Suite("Where the relay is")
    struct RelayAddressTests {
        private static let exposed = Exposure(.tcp, "127.0.0.1:7000", port: 7000)
        private static let first = "203.0.113.10:443"
        private static let other = "[2001:db8:113::10]:443"

        /// Has the agent read another list.
        private func change(_ deployment: Deployment, to addresses: String...) throws {
            let list = addresses.map { "\"\($0)\"" }.joined(separator: ", ")
            try deployment.writeAgentConfiguration([Self.exposed]) { joined in
                joined.components(separatedBy: "\n").map { line in
                    line.hasPrefix("relay = ") ? "relay = [\(list)]" : line
                }.joined(separator: "\n")
            }
            try deployment.agent().signal(SIGHUP)
        }

        @Test("one more address leaves the session alone; without the one that it has, it moves to another")
        func change() async throws {
            try await Lab.deployed([Self.exposed]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let (relay, agent) = (try deployment.relay(), try deployment.agent())
                let visitor = try deployment.lab.visitor.start(
                    script: "talk",
                    ["connect", "203.0.113.10", "7000", "send 10; read 10; pause 1500; send 10; fin; drain"])
                try await until("the visitor is through") { relay.connections(onPort: 7000) == 1 }
                try change(deployment, to: Self.other, Self.first)
                try await agent.says("settings are read anew")
                try await visitor.ended()
                let talk = try Talk.last(in: visitor.output)
                #expect(talk.received == 20 && talk.end == "eof" && talk.failed == nil, "\(talk)")
                #expect(TerminationReason.all(in: agent.log).isEmpty, "\(agent.tail())")
                try change(deployment, to: Self.other)
                try await agent.says("relay=\(Self.other)")
                #expect(TerminationReason.all(in: agent.log) == [.platformShutdown], "\(agent.tail())")
            }
        }

        @Test("without a session the status says so, when the next try is, and why")
        func status() async throws {
            try await Lab.deployed([Self.exposed], agent: ["timeouts": ["backoff-maximum": "\"20s\""]]) { deployment in
                func status(_ options: String...) async throws -> String {
                    try await deployment.lab.home.check(
                        [Natfwt.binary, "status", "--socket", deployment.agentSocket()] + options)
                }
                #expect(try await status().contains("provider relay \(Self.first): active"))
                #expect(try await status("--json").contains("\"relay\":{\"connected\":true"))
                try await deployment.relay().stop()
                let line = try await eventually("the status tells of the refusal") {
                    let lines = try await status().split(separator: "\n")
                    return lines.first { $0.contains(/^relay: not connected, next try in \d+ s: .*refused/) }
                }
                #expect(!line.contains("active"))
                let json = try await status("--json")
                #expect(json.contains("\"relay\":{\"connected\":false,\"addresses\":\"\(Self.first)\""), "\(json)")
                #expect(json.contains("\"why\":\""), "\(json)")
            }
        }

        @Test("where another agent has this node's key the status says that too")
        func takenOver() async throws {
            try await Lab.deployed([Self.exposed]) { deployment in
                let (lab, directory) = (deployment.lab, "\(deployment.lab.directory)/twin")
                try await lab.visitor.check(["cp", "-r", deployment.homeDirectory, directory])
                try deployment.writeAgentConfiguration([], directory: directory)
                let twin = try lab.visitor.start(
                    [Natfwt.binary, "agent", "--config", deployment.agentConfiguration(directory)], as: "twin")
                try await twin.says("session active")
                let line = try await eventually("the status tells of the other") {
                    let text = try await lab.home.check(
                        [Natfwt.binary, "status", "--socket", deployment.agentSocket()])
                    return text.split(separator: "\n").first { $0.hasPrefix("relay: not connected, ") }
                }
                #expect(line.contains("this node's key"), "\(line)")
            }
        }
    }
}
