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
    }
}
