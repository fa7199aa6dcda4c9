// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitor: prober ──▶ relay:7000 ═══ NAT ═══ agent (killed, started again, doubled) ──▶ service
    ///
    /// Processes die without a word; what they exposed comes back at once, on the same port.
    @Suite("Agents and relays restart")
    struct RestartTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        /// The times (Unix, seconds) that the prober gave for "up" or "down".
        private func times(_ word: String, _ prober: Child) -> [Double] {
            prober.output.split(separator: "\n").compactMap { line in
                let parts = line.split(separator: " ")
                return parts.count == 2 && parts[0] == word ? Double(parts[1]) : nil
            }
        }

        @Test("kill -9 of the agent, five times: the port answers within 200 ms of the new tunnel")
        func killedAgent() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let prober = try deployment.lab.visitor.start(script: "prober", ["203.0.113.10", "7000"])
                try await until("the port answers") { times("up", prober).count == 1 }
                for round in 1...5 {
                    await (try deployment.agent()).destroy()
                    try await until("the port fails") { times("down", prober).count == round }
                    let agent = try deployment.startAgent()
                    let relay = try deployment.relay()
                    try await eventually("the tunnel is up", every: .milliseconds(1)) {
                        agent.log.contains("session active") ? true : nil
                    }
                    let established = Date().timeIntervalSince1970
                    try await until("the port answers again\(agent.tail())\(relay.tail())") {
                        times("up", prober).count == round + 1
                    }
                    let late = (times("up", prober).last ?? .infinity) - established
                    #expect(late < 0.2, "round \(round): \(late) s after the tunnel")
                    #expect(!agent.log.contains("in use"), "\(agent.tail())")
                }
            }
        }

        @Test("kill -9 of the relay and a new start: agents come back by themselves")
        func killedRelay() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                for _ in 1...3 {
                    await (try deployment.relay()).destroy()
                    try await deployment.startRelay()
                    try await deployment.opened([Self.exposure])
                    let talk = try await deployment.lab.visitor.talk(
                        to: "203.0.113.10", port: 7000, "send 1000; fin; drain")
                    #expect(talk.received == 1000)
                }
            }
        }

        @Test("a second agent with the same key takes over at once, and the first is told why")
        func takeover() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                let first = try deployment.agent()
                let twin = "\(lab.directory)/twin"
                try await lab.home.check(["cp", "-r", deployment.homeDirectory, twin])
                try deployment.writeAgentConfiguration([Self.exposure], directory: twin)
                let second = try deployment.startAgent(directory: twin)
                try await second.says("session active")
                try await first.says("another", within: .seconds(3))
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                #expect(talk.received == 10)
                // The first must not fight for the name: two twins would take it from each other for ever.
                let count = second.log.components(separatedBy: "session active").count
                await #expect(throws: LabError.self) {
                    try await until("the twins fight", within: .seconds(3)) {
                        second.log.components(separatedBy: "session active").count > count + 1
                    }
                }
            }
        }

        @Test("a session that is dead but not yet noticed does not stop the agent's new one")
        func halfOpen() async throws {
            // frp #5391: the server waited for the old connection to close, for ever.
            // The relay notices after a minute and a half.
            let patient: Tables = ["timeouts": ["liveness-interval": "\"30s\""]]
            try await Lab.deployed([Self.exposure], relay: patient) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                try await lab.inflict(.blackhole(.both))
                await (try deployment.agent()).destroy()
                try await lab.heal()
                let agent = try deployment.startAgent()
                try await agent.says("session active", within: .seconds(20))
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                #expect(talk.received == 10)
                #expect(!agent.log.contains("in use"), "\(agent.tail())")
            }
        }

        @Test("SIGTERM to the relay drains: what runs ends in peace, nothing new begins")
        func drain() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "drain; send 10; close")
                let relay = try deployment.relay()
                let visitor = try deployment.lab.visitor.start(
                    script: "talk", ["connect", "203.0.113.10", "7000", "send 10; pause 1000; fin; drain"])
                try await until("the visitor is through") { relay.connections(onPort: 7000) == 1 }
                relay.signal(SIGTERM)
                try await until("the port is closed to new visitors") { !relay.hasPort(7000) }
                try await visitor.ended()
                #expect(try Talk.last(in: visitor.output).received == 10, "\(visitor.log)")
                #expect(try await relay.ended() == 0)
            }
        }

        @Test("a second SIGTERM ends a drain at once")
        func impatient() async throws {
            try await Lab.deployed([Self.exposure], relay: ["timeouts": ["drain": "\"60s\""]]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let relay = try deployment.relay()
                _ = try deployment.lab.visitor.start(
                    script: "talk", ["connect", "203.0.113.10", "7000", "send 10; read 10; drain"])
                try await until("the visitor is through") { relay.connections(onPort: 7000) == 1 }
                relay.signal(SIGTERM)
                try await until("the port is closed") { !relay.hasPort(7000) }
                #expect(relay.isRunning)
                relay.signal(SIGTERM)
                _ = try await relay.ended(within: .seconds(20))
            }
        }
    }
}
