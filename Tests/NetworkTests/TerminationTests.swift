// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     home: agent ═══ NAT ═══ internet ═══ relay:443
    ///                      ▲         ▲           ▲
    ///                     cut      resets      stopped, rubbish, unknown node
    ///
    /// The five reasons for which a session ends, each provoked with the real fault, once each. The liveness interval is
    /// one second here, so that a silent path is dead after three.
    @Suite("A session ends for its reason")
    struct TerminationTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        private func expect(
            _ wanted: TerminationReason, sourceLocation: SourceLocation = #_sourceLocation,
            when fault: (Deployment) async throws -> Void
        ) async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let known = TerminationReason.all(in: try deployment.agent().log).count
                try await fault(deployment)
                let reason = try await deployment.reason(after: known)
                let tail = try deployment.agent().tail()
                #expect(reason == wanted, "\(tail)", sourceLocation: sourceLocation)
            }
        }

        @Test("the relay is stopped: providerTimeout, and all comes back when it goes on")
        func timeout() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let relay = try deployment.relay()
                relay.signal(SIGSTOP)
                #expect(try await deployment.reason() == .providerTimeout)
                relay.signal(SIGCONT)
                try await eventually("the port answers again") { () -> Bool? in
                    let talk = try? await deployment.lab.visitor.talk(
                        to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                    return talk?.received == 10 ? true : nil
                }
            }
        }

        /// The kernel's own verdict: what was sent is not acknowledged any more. A relay that is stopped still acknowledges.
        @Test(
            "the path swallows everything, one way or both: otherCommunicationError",
            arguments: [Way.fromHome, .toHome, .both])
        func blackhole(_ way: Way) async throws {
            try await expect(.otherCommunicationError) { try await $0.lab.inflict(.blackhole(way)) }
        }

        @Test("a reset on the path: otherCommunicationError")
        func reset() async throws {
            try await expect(.otherCommunicationError) {
                try await $0.lab.inflict(.reset(port: Deployment.tunnelPort))
            }
        }

        @Test("the home's link is cut: otherCommunicationError")
        func cut() async throws {
            try await expect(.otherCommunicationError) { try await $0.lab.unplug("eth0", of: $0.lab.home) }
        }

        @Test("the relay is killed: otherCommunicationError")
        func killed() async throws {
            try await expect(.otherCommunicationError) { try await $0.relay().destroy() }
        }

        /// What was sent is read, or the kernel answers its loss with a reset before the rubbish is looked at.
        @Test(
            "the relay does not speak TLS: providerOtherFailure",
            arguments: ["echo rubbish; cat >/dev/null", "cat", "head -c 20000 /dev/zero; cat >/dev/null"])
        func brokenHandshake(_ answer: String) async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let agent = try deployment.agent()
                try await agent.stop()
                try await deployment.relay().destroy()
                let impostor = try deployment.lab.relay.start(
                    ["socat", "TCP-LISTEN:443,reuseaddr,fork", "SYSTEM:\(answer)"])
                try await impostor.opens(443)
                try deployment.startAgent()
                #expect(try await deployment.reason() == .providerOtherFailure)
            }
        }

        @Test("the relay does not know the node: providerOtherFailure")
        func refused() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                try await deployment.agent().stop()
                try await deployment.lab.relay.check([
                    Natfwt.binary, "nodes", "remove", "home", "--config", deployment.relayConfiguration,
                ])
                try deployment.startAgent()
                #expect(try await deployment.reason() == .providerOtherFailure)
            }
        }

        @Test("SIGTERM: platformShutdown, and a clean exit")
        func shutdown() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                let agent = try deployment.agent()
                #expect(try await agent.stop() == 0)
                #expect(TerminationReason.all(in: agent.log) == [.platformShutdown], "\(agent.tail())")
            }
        }

        /// The relay's provider for a node leaves when the node has said goodbye: nothing failed, nothing was stopped here.
        @Test("the provider deregisters: providerRequest")
        func deregistered() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                try await deployment.agent().stop()
                let line = try await deployment.relay().says("node disconnected")
                #expect(line.contains("reason=\"provider request\""), "\(line)")
            }
        }

        @Test("a reason is told once a session, and the status shows the last one")
        func once() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                try await deployment.lab.inflict(.reset(port: Deployment.tunnelPort))
                _ = try await deployment.reason()
                try await deployment.lab.heal()
                let relay = try deployment.relay()
                try await until("the tunnel is back") { relay.connections(onPort: 443) == 1 }
                try await deployment.opened([Self.exposure])
                let status = try await deployment.status(socket: deployment.agentSocket(), in: deployment.lab.home)
                #expect(status.contains("otherCommunicationError"), "\(status)")
            }
        }

        @Test("a visitor of a dead session sees a reset, and does not hang")
        func visitorsAreTold() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                let visitor = try deployment.lab.visitor.start(
                    script: "talk", ["connect", "203.0.113.10", "7000", "send 10; read 10; drain"])
                let relay = try deployment.relay()
                try await until("the visitor is through") { relay.connections(onPort: 7000) == 1 }
                await (try deployment.agent()).destroy()
                try await visitor.ended(within: .seconds(60))
                #expect(try Talk.last(in: visitor.output).end == "reset", "\(visitor.log)")
            }
        }
    }
}
