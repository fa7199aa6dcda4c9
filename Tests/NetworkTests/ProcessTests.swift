// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     relay, agent: closed descriptors, full disks, storms of signals, two of a kind, leftovers of the dead
    ///
    /// The programs as processes: what an operator, an init system or an accident does to them.
    @Suite("Processes")
    struct ProcessTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        private func expectEcho(_ deployment: Deployment) async throws {
            let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 1000; fin; drain")
            #expect(talk.received == 1000 && talk.end == "eof")
        }

        @Test("started with closed descriptors, no socket becomes standard output")
        func closedDescriptors() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start([Self.exposure])
                await (try deployment.agent()).destroy()
                let command = "exec \(Natfwt.binary) agent --config \(deployment.agentConfiguration()) <&- >&- 2>&-"
                let agent = try lab.home.start(["sh", "-c", command], as: "closed")
                try await deployment.opened([Self.exposure])
                try await expectEcho(deployment)
                for number in 0...2 {
                    let target = try? FileManager.default.destinationOfSymbolicLink(
                        atPath: "/proc/\(agent.pid)/fd/\(number)")
                    #expect(target == nil || target == "/dev/null", "descriptor \(number) is \(target ?? "")")
                }
            }
        }

        @Test("a log that can't be written stops nothing", arguments: ["/dev/full", "| true"])
        func noLog(_ target: String) async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start([Self.exposure])
                await (try deployment.agent()).destroy()
                let redirection = target.hasPrefix("|") ? "2>&1 \(target)" : "> \(target) 2>&1"
                let command = "\(Natfwt.binary) agent --config \(deployment.agentConfiguration()) \(redirection)"
                _ = try lab.home.start(["sh", "-c", command], as: "mute")
                try await deployment.opened([Self.exposure])
                for _ in 1...20 { try await expectEcho(deployment) }
            }
        }

        @Test("a reader of the log that is stuck stops nothing")
        func stuckLog() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start([Self.exposure])
                await (try deployment.agent()).destroy()
                let command =
                    "\(Natfwt.binary) agent --config \(deployment.agentConfiguration()) 2>&1 | sh -c 'kill -STOP $$'"
                _ = try lab.home.start(["sh", "-c", command], as: "stuck")
                try await deployment.opened([Self.exposure])
                // Far more lines than a pipe holds.
                let result = try await lab.visitor.run(
                    script: "crowd", ["visit", "203.0.113.10", "7000", "2000", "32", "64"], within: .seconds(60))
                #expect(result.output.contains("\"ok\": 2000"), "\(result)")
            }
        }

        @Test("a storm of SIGHUP, SIGWINCH and SIGPIPE harms nothing")
        func storm() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let programs = [try deployment.relay(), try deployment.agent()]
                for _ in 1...300 {
                    for number in [SIGHUP, SIGWINCH, SIGPIPE] { programs.forEach { $0.signal(number) } }
                }
                try await expectEcho(deployment)
                #expect(programs.allSatisfy { $0.isRunning })
                #expect(TerminationReason.all(in: try deployment.agent().log).isEmpty)
            }
        }

        @Test("stopped for longer than the liveness limit and continued, the agent comes back at once")
        func paused() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let agent = try deployment.agent()
                let relay = try deployment.relay()
                agent.signal(SIGSTOP)
                try await until("the relay gives the session up\(relay.tail())") {
                    !relay.hasPort(7000) || relay.connections(onPort: 443) == 0
                }
                agent.signal(SIGCONT)
                try await deployment.opened([Self.exposure])
                try await expectEcho(deployment)
            }
        }

        @Test("a relay whose port is taken says so and leaves with a code of its own")
        func portTaken() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.relay.serve(port: 443, "close")
                try deployment.writeRelayConfiguration()
                let result = try await lab.relay.run(
                    [Natfwt.binary, "relay", "--config", deployment.relayConfiguration])
                #expect(result.code == 69, "\(result)")
                #expect(result.log.contains("443") && result.log.contains("in use"), "\(result)")
            }
        }

        @Test("a second relay on the same state directory and socket is refused, and harms nothing")
        func twoRelays() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let result = try await deployment.lab.relay.run(
                    [Natfwt.binary, "relay", "--config", deployment.relayConfiguration])
                #expect(result.code != 0 && result.code < 128, "\(result)")
                try await expectEcho(deployment)
                let status = try await deployment.status(
                    socket: deployment.relaySocket, in: deployment.lab.relay)
                #expect(status.contains("home"), "the first relay's socket still answers: \(status)")
            }
        }

        @Test("the leftover socket of a killed program does not stop the next one")
        func leftoverSocket() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                await (try deployment.agent()).destroy()
                #expect(FileManager.default.fileExists(atPath: deployment.agentSocket()))
                let agent = try deployment.startAgent()
                try await agent.says("session active")
                let status = try await deployment.status(socket: deployment.agentSocket(), in: deployment.lab.home)
                #expect(status.hasPrefix("{"), "\(status)")
            }
        }

        @Test(
            "a wrong configuration is told with file, line and what was expected, and code 78",
            arguments: ["relay", "agent"])
        func wrongConfiguration(_ program: String) async throws {
            try await Lab.run { lab in
                let path = "\(lab.directory)/wrong.toml"
                try "[limits]\n\nnodez = 4\n".write(toFile: path, atomically: true, encoding: .utf8)
                let result = try await lab.home.run([Natfwt.binary, program, "--config", path])
                #expect(result.code == 78, "\(result)")
                #expect(result.log.contains("wrong.toml:3:") || program == "agent", "\(result)")
                let missing = try await lab.home.run([Natfwt.binary, program, "--config", "\(lab.directory)/none.toml"])
                #expect(missing.code == 78 && missing.log.contains("none.toml"), "\(missing)")
            }
        }

        @Test("a state directory that can't be written is told at the start")
        func readOnlyState() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try deployment.writeRelayConfiguration()
                let command = """
                    mount -t tmpfs -o ro none \(deployment.relayState) &&
                    exec \(Natfwt.binary) relay --config \(deployment.relayConfiguration)
                    """
                let result = try await lab.relay.run(["unshare", "--mount", "sh", "-c", command])
                #expect(result.code != 0 && result.code < 128, "\(result)")
                #expect(result.log.contains(deployment.relayState), "\(result)")
            }
        }

        @Test("a full disk under the registry keeps what runs running")
        func fullDisk() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try deployment.writeRelayConfiguration()
                // A small disk of the relay's own, in a mount namespace of its own.
                let command = """
                    mount -t tmpfs -o size=1m none \(deployment.relayState)
                    exec \(Natfwt.binary) relay --config \(deployment.relayConfiguration)
                    """
                let relay = try lab.relay.start(["unshare", "--mount", "sh", "-c", command], as: "relay")
                try await relay.opens(443)
                let inside = ["nsenter", "--mount", "--target", "\(relay.pid)"]
                let invite = try await lab.relay.run(
                    inside + [
                        Natfwt.binary, "invite", "home", "--config", deployment.relayConfiguration, "--expose",
                        "tcp:7000",
                    ])
                _ = try await deployment.join(invite.text)
                try deployment.writeAgentConfiguration([Self.exposure])
                let agent = try deployment.startAgent()
                try await until("the port opens") { relay.hasPort(7000) }
                _ = try await lab.relay.run(
                    inside + ["sh", "-c", "head -c 2000000 /dev/zero > \(deployment.relayState)/filler"])
                try await expectEcho(deployment)
                let refused = try await lab.relay.run(
                    inside + [Natfwt.binary, "invite", "other", "--config", deployment.relayConfiguration])
                #expect(refused.code != 0 && refused.code < 128, "\(refused)")
                try await expectEcho(deployment)
                #expect(relay.isRunning && agent.isRunning)
            }
        }
    }
}
