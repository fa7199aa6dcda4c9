// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     agent ═══ NAT ═══ wire (delay, loss, duplicates, corruption) ═══ internet ═══ relay
    ///
    /// Paths are slow, lossy, forgetful and sometimes away for a while: bytes stay whole, and what was exposed comes back.
    @Suite("Bad paths")
    struct PathFaultTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        private func expectEcho(
            _ deployment: Deployment, _ count: Int = 1_000_000, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let talk = try await deployment.lab.visitor.talk(
                to: "203.0.113.10", port: 7000, "send \(count); fin; drain", within: .seconds(60))
            let expected = try await Talk.expected(count)
            #expect(talk.sha256 == expected && talk.end == "eof", "\(talk)", sourceLocation: sourceLocation)
        }

        @Test("bytes stay whole over a slow, lossy, doubling, corrupting wire")
        func wire() async throws {
            try await Lab.deployed([Self.exposure], wired: true) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "drain; send 10; close")
                let lab = deployment.lab
                try lab.setWire(
                    delayMilliseconds: 20, jitterMilliseconds: 5, lossPercent: 1, duplicatePercent: 5,
                    corruptPercent: 0.5)
                for _ in 1...3 {
                    let talk = try await lab.visitor.talk(
                        to: "203.0.113.10", port: 7000, "send 300000; fin; drain", within: .seconds(60))
                    #expect(talk.received == 10 && talk.end == "eof")
                }
            }
        }

        @Test("an outage of two seconds is not judged as an end")
        func shortOutage() async throws {
            try await Lab.deployed([Self.exposure], relay: ["timeouts": ["liveness-interval": "\"2s\""]]) {
                deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                try await expectEcho(deployment)
                try await deployment.lab.inflict(.blackhole(.both))
                let end = ContinuousClock.now + .seconds(2)
                try await until("two seconds are over") { ContinuousClock.now > end }
                try await deployment.lab.heal()
                try await expectEcho(deployment)
                #expect(TerminationReason.all(in: try deployment.agent().log).isEmpty)
            }
        }

        @Test("the router forgets its connections: the tunnel goes on or is made again", arguments: NATKind.allCases)
        func forgetful(_ nat: NATKind) async throws {
            try await Lab.deployed([Self.exposure], nat: nat) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                try await expectEcho(deployment)
                try await deployment.lab.forgetConnections()
                try await eventually("the port answers", within: .seconds(30)) { () -> Bool? in
                    let talk = try? await deployment.lab.visitor.talk(
                        to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
            }
        }

        @Test("a router that forgets idle connections after two seconds never sees an idle tunnel")
        func keptAlive() async throws {
            try await Lab.run { lab in
                try await lab.forgetIdle(afterSeconds: 2)
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start([Self.exposure])
                let end = ContinuousClock.now + .seconds(6)
                try await until("six quiet seconds are over") { ContinuousClock.now > end }
                try await expectEcho(deployment)
                #expect(TerminationReason.all(in: try deployment.agent().log).isEmpty)
            }
        }

        @Test("a link that was away for longer than the liveness limit comes back by itself")
        func longOutage() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                try await lab.unplug("wan", of: lab.router)
                _ = try await deployment.reason()
                try await lab.replug(lab.router)
                try await eventually("the port answers", within: .seconds(30)) { () -> Bool? in
                    let talk = try? await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
            }
        }

        @Test("ICMP unreachable on the way costs a session at most, never the agent")
        func unreachable() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                try await lab.inflict(.unreachable(.fromHome))
                _ = try await deployment.reason()
                try await lab.heal()
                try await eventually("the port answers", within: .seconds(30)) { () -> Bool? in
                    let talk = try? await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
            }
        }

        @Test("a relay's name that can't be looked up at first is asked for again")
        func lateName() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try lab.home.hosts([])
                try await deployment.startRelay()
                let invite = try await deployment.invite("home", ["--address", "relay.test:443"])
                _ = try await deployment.join(invite.text)
                try deployment.writeAgentConfiguration([Self.exposure])
                let agent = try deployment.startAgent()
                try await agent.says("relay.test")
                #expect(agent.isRunning)
                try lab.home.hosts(["203.0.113.10 relay.test"])
                try await deployment.opened([Self.exposure])
                try await expectEcho(deployment, 1000)
            }
        }

        @Test("of two addresses of the relay the one that answers is taken", arguments: [true, false])
        func secondAddress(_ silent: Bool) async throws {
            try await Lab.run { lab in
                // The first address swallows packets, or nobody listens there.
                try lab.home.hosts([
                    "\(silent ? "203.0.113.99" : "203.0.113.1") relay.test", "2001:db8:113::10 relay.test",
                ])
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.startRelay()
                let invite = try await deployment.invite("home", ["--address", "relay.test:443"])
                _ = try await deployment.join(invite.text)
                try deployment.writeAgentConfiguration([Self.exposure])
                try deployment.startAgent()
                try await deployment.opened([Self.exposure])
                try await expectEcho(deployment, 1000)
            }
        }
    }
}
