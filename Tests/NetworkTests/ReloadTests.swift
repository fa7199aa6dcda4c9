// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitor ──▶ relay:7000 (talks on), :7001 (goes), :7002 (comes) ═══ agent (SIGHUP) ──▶ service
    ///
    /// A reload changes what it says, and touches nothing else.
    @Suite("Reload")
    struct ReloadTests {
        static let stays = Exposure(.tcp, "127.0.0.1:7000", port: 7000)
        static let goes = Exposure(.tcp, "127.0.0.1:7000", port: 7001)
        static let comes = Exposure(.tcp, "127.0.0.1:7000", port: 7002)

        /// A visitor that talks for as long as the test does, and what it must have heard at the end.
        private func longTalk(_ deployment: Deployment) async throws -> Child {
            let visitor = try deployment.lab.visitor.start(
                script: "talk",
                ["connect", "203.0.113.10", "7000", "send 10; read 10; pause 2500; send 10; fin; drain"])
            let relay = try deployment.relay()
            try await until("the visitor is through") { relay.connections(onPort: 7000) == 1 }
            return visitor
        }

        private func expectUnharmed(_ visitor: Child) async throws {
            try await visitor.ended()
            let talk = try Talk.last(in: visitor.output)
            #expect(talk.received == 20 && talk.end == "eof" && talk.failed == nil, "\(talk)")
        }

        @Test("SIGHUP to the agent adds and removes an exposure; an open connection on another goes on")
        func agent() async throws {
            try await Lab.deployed([Self.stays, Self.goes]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let visitor = try await longTalk(deployment)
                try deployment.writeAgentConfiguration([Self.stays, Self.comes])
                try deployment.agent().signal(SIGHUP)
                try await deployment.opened([Self.comes])
                let relay = try deployment.relay()
                try await until("the old port is closed") { !relay.hasPort(7001) }
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7002, "send 5; fin; drain")
                #expect(talk.received == 5)
                try await expectUnharmed(visitor)
                #expect(TerminationReason.all(in: try deployment.agent().log).isEmpty, "the session was not touched")
            }
        }

        @Test(
            "a configuration that is wrong changes nothing, and the log says where it is wrong",
            arguments: [
                "this is no TOML", "[[expose]]\nprotocol = \"sctp\"\nservice = \"127.0.0.1:1\"\n", "[limit]\nx = 1\n",
            ])
        func wrong(_ text: String) async throws {
            try await Lab.deployed([Self.stays, Self.goes]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let visitor = try await longTalk(deployment)
                let path = deployment.agentConfiguration()
                let good = try String(contentsOfFile: path, encoding: .utf8)
                try (good + text).write(toFile: path, atomically: true, encoding: .utf8)
                let agent = try deployment.agent()
                agent.signal(SIGHUP)
                let line = try await agent.says("lab.toml:")
                #expect(line.contains(/lab\.toml:\d+/), "file and line: \(line)")
                try await expectUnharmed(visitor)
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7001, "send 5; fin; drain")
                #expect(talk.received == 5)
            }
        }

        @Test("SIGHUP to the relay leaves sessions and visitors alone; a wrong file keeps the old settings")
        func relay() async throws {
            try await Lab.deployed([Self.stays]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let visitor = try await longTalk(deployment)
                let relay = try deployment.relay()
                try deployment.writeRelayConfiguration(["limits": ["visitors-per-port": "5"]])
                relay.signal(SIGHUP)
                try await relay.says("settings are read anew")
                try "nonsense = ".write(toFile: deployment.relayConfiguration, atomically: true, encoding: .utf8)
                relay.signal(SIGHUP)
                try await relay.says("relay.toml:")
                try await expectUnharmed(visitor)
                #expect(relay.isRunning)
            }
        }

        @Test(
            "a port that the relay does not offer any more is closed, the agent is told, and it comes back when it may")
        func narrowed() async throws {
            try await Lab.deployed([Self.stays, Self.goes]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let (relay, agent) = (try deployment.relay(), try deployment.agent())
                try deployment.writeRelayConfiguration(["expose": ["ports": "[\"tcp:7000\"]"]])
                relay.signal(SIGHUP)
                try await agent.says("does not offer tcp port 7001")
                #expect(!relay.hasPort(7001) && relay.hasPort(7000))
                try deployment.writeRelayConfiguration()
                relay.signal(SIGHUP)
                try await until("the port is open again") { relay.hasPort(7001) }
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7001, "send 5; fin; drain")
                #expect(talk.received == 5)
            }
        }

        @Test("what the settings say in vain is told, at the start and when the relay says its name for the node")
        func inVain() async throws {
            try await Lab.deployed([]) { deployment in
                try await deployment.agent().stop()
                try deployment.writeAgentConfiguration(
                    [], ["providers": ["allow": "[\"nosuchuser\", \"%nosuchgroup\"]"]]
                ) { joined in
                    joined.components(separatedBy: "\n").filter { !$0.hasPrefix("name = ") }.joined(separator: "\n")
                        + "\nname = \"Home!\"\nknown-nodes = \"/nowhere/at/all\"\n"
                }
                let agent = try deployment.startAgent()
                try await agent.says("name=nosuchuser")
                try await agent.says("name=%nosuchgroup")
                try await agent.says("path=/nowhere/at/all")
                let line = try await agent.says("the name in the settings changes nothing")
                #expect(line.contains("name=home") && line.contains("settings=Home!"), "\(line)")
            }
        }

        @Test("listeners of the relay that come and go are told of")
        func relayListeners() async throws {
            try await Lab.deployed([]) { deployment in
                let relay = try deployment.relay()
                func listen(on addresses: String) throws {
                    try deployment.writeRelayConfiguration()
                    let path = deployment.relayConfiguration
                    let text = try String(contentsOfFile: path, encoding: .utf8)
                    let lines = text.components(separatedBy: "\n").map {
                        $0.hasPrefix("listen = ") ? "listen = [\(addresses)]" : $0
                    }
                    try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
                    relay.signal(SIGHUP)
                }
                try listen(on: "\"0.0.0.0:443\", \"[::]:443\", \"0.0.0.0:8443\"")
                #expect(try await relay.says("listening for nodes").contains("0.0.0.0:8443"))
                try listen(on: "\"0.0.0.0:443\", \"[::]:443\"")
                #expect(try await relay.says("no longer listening").contains("0.0.0.0:8443"))

                // Somebody else has the port, and goes.
                let other = try await deployment.lab.relay.serve("0.0.0.0", port: 8444, "echo")
                try listen(on: "\"0.0.0.0:443\", \"[::]:443\", \"0.0.0.0:8444\"")
                #expect(try await relay.says("can't listen").contains("0.0.0.0:8444"))
                other.signal(SIGKILL)
                try await until("the relay listens once it can") {
                    relay.log.contains("listening for nodes address=0.0.0.0:8444")
                }
            }
        }

        @Test("a hundred reloads leak nothing")
        func often() async throws {
            try await Lab.deployed([Self.stays]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let programs = [try deployment.agent(), try deployment.relay()]
                let before = programs.map(\.descriptors)
                for _ in 1...100 {
                    for program in programs { program.signal(SIGHUP) }
                    _ = try await deployment.lab.visitor.run(["true"])
                }
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 5; fin; drain")
                #expect(talk.received == 5)
                try await until("descriptors are as before: \(before), \(programs.map(\.descriptors))") {
                    programs.map(\.descriptors) == before
                }
            }
        }
    }
}
