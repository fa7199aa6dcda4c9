// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitors (hundreds, held) ──▶ relay [nofile=64] ═══ agent [nofile=64] ──▶ service
    ///     rubbish, half handshakes ──▶ relay:443
    ///
    /// What runs out is refused by name and comes back; what is wrong is closed in time; the others never notice.
    @Suite("Exhaustion and rubbish")
    struct ExhaustionTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        @Test("64 descriptors: accepting pauses and recovers", arguments: ["relay", "agent"])
        func descriptors(_ who: String) async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start(
                    [Self.exposure], relayLimits: who == "relay" ? ["--nofile=64:64"] : [],
                    agentLimits: who == "agent" ? ["--nofile=64:64"] : [])
                let crowd = try lab.visitor.start(script: "crowd", ["hold", "203.0.113.10", "7000", "200"])
                try await crowd.says("held")
                let program = who == "relay" ? try deployment.relay() : try deployment.agent()
                #expect(program.isRunning && (60...64).contains(program.descriptors), "\(program.descriptors)")
                try await program.says("EMFILE")
                try await crowd.stop()
                try await eventually("a visitor gets through again\(program.tail())") { () -> Bool? in
                    let talk = try? await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
                #expect(try deployment.relay().isRunning && deployment.agent().isRunning)
            }
        }

        @Test("twenty local ports for connecting to services: the rest is reset, and it recovers")
        func localPorts() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                try await lab.home.check([
                    "sh", "-ec", "echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range",
                ])
                let crowd = try lab.visitor.start(script: "crowd", ["hold", "203.0.113.10", "7000", "60"])
                try await crowd.says("held")
                try await crowd.stop()
                try await eventually("a visitor gets through again") { () -> Bool? in
                    let talk = try? await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
                #expect(try deployment.agent().isRunning)
            }
        }

        /// How long an agent takes from its start to its port, which that of the last one had.
        private func login(_ deployment: Deployment, stays: Bool = false) async throws -> Duration {
            let relay = try deployment.relay()
            try await until("the port is closed") { !relay.hasPort(7000) }
            let begin = ContinuousClock.now
            let agent = try deployment.startAgent()
            try await deployment.opened([Self.exposure])
            let took = ContinuousClock.now - begin
            if !stays {
                try await agent.stop()
                try await until("the port is closed") { !relay.hasPort(7000) }
            }
            return took
        }

        @Test(
            "rubbish on the TLS port is closed in time, and a node logs in meanwhile",
            arguments: ["silence", "http", "ssh", "random", "zeros", "drip", "half", "oversized", "alert"])
        func rubbish(_ kind: String) async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                let relay = try deployment.relay()
                try await deployment.agent().stop()
                let calm = try await login(deployment)
                let before = relay.descriptors
                let vandal = try lab.visitor.start(script: "rubbish", [kind, "203.0.113.10", "443", "200"])
                try await vandal.says("opened")
                let (took, most) = (try await login(deployment, stays: true), .seconds(2) + calm * 3)
                #expect(took < most, "the node had to wait for the rubbish: \(took), and \(calm) without it")
                try await vandal.ended()
                struct Ends: Decodable { let opened, closed, open: Int, longest: Double }
                let line = vandal.output.split(separator: "\n").last.map(String.init) ?? ""
                let ends = try JSONDecoder().decode(Ends.self, from: Data(line.utf8))
                #expect(ends.open == 0, "\(line)")
                // The handshake's whole time is two seconds here.
                #expect(ends.longest < 4, "\(line)")
                try await until("descriptors are as before: \(before) + 2, \(relay.descriptors)") {
                    relay.descriptors <= before + 3
                }
                #expect(relay.log.count < 200_000, "a log line for each would be a weapon")
            }
        }

        @Test("a thousand half-open handshakes from one source do not keep a node out")
        func halfOpen() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                try await deployment.agent().stop()
                let calm = try await login(deployment)
                let vandal = try lab.visitor.start(script: "rubbish", ["half", "203.0.113.10", "443", "1000"])
                try await vandal.says("opened")
                let (took, most) = (try await login(deployment, stays: true), .seconds(2) + calm * 3)
                #expect(took < most, "\(took), and \(calm) without them")
            }
        }

        @Test("more visitors than allowed are refused, with the limit's name in the log")
        func visitors() async throws {
            try await Lab.deployed([Self.exposure], relay: ["limits": ["visitors-per-port": "10"]]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                let crowd = try lab.visitor.start(script: "crowd", ["hold", "203.0.113.10", "7000", "50"])
                try await crowd.says("held")
                let relay = try deployment.relay()
                try await relay.says("visitors-per-port")
                try await until("at most ten are in") { relay.connections(onPort: 7000) <= 10 }
            }
        }

        @Test("a storm of datagrams at a stalled agent leaves TCP of the same agent alone")
        func datagramStorm() async throws {
            let udp = Exposure(.udp, "127.0.0.1:5353", port: 5353)
            try await Lab.deployed([Self.exposure, udp]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                let silent = try lab.home.start(script: "udp", ["serve", "127.0.0.1", "5353", "silent"])
                try await silent.says("ready")
                let before = try deployment.relay().memoryKiB
                _ = try lab.visitor.start(script: "udp", ["flood", "203.0.113.10", "5353", "500000", "1200"])
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 1000000; fin; drain")
                #expect(talk.received == 1_000_000 && talk.end == "eof")
                #expect(try deployment.relay().memoryKiB < before + 100_000)
            }
        }
    }
}
