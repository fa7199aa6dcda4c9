// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// Hosts where IPv6 is switched off, or that know none of it: what names no address means those that there are.
    @Suite("A host without IPv6")
    struct MissingFamilyTests {
        private static let forward =
            "\n[[forward]]\nlisten = \"7777\"\nto = \"home:9000\"\n\n[socks]\nlisten = \"1080\"\n"

        /// Switches IPv6 off, as many hosts have it.
        private func switchOff(_ machine: Namespace) async throws {
            try await machine.check(["sh", "-ec", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"])
        }

        @Test("forwards and proxies of a port alone listen on the loopback address that there is")
        func loopback() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await switchOff(lab.home)
                try await deployment.start([], more: Self.forward)
                let agent = try deployment.agent()
                try await agent.opens(7777)
                try await agent.opens(1080)
                let socket = deployment.agentSocket()
                for arguments in [["forward", "7778", "home:9000"], ["socks", "1081"]] {
                    let child = try lab.home.start([Natfwt.binary] + arguments + ["--socket", socket])
                    try await child.says("this host can't have [::1]:\(arguments[1])")
                    #expect(agent.hasPort(Int(arguments[1]) ?? 0))
                }
                let explicit = try await lab.home.run(
                    [Natfwt.binary, "forward", "[::1]:7779", "home:9000", "--socket", socket])
                #expect(explicit.code == 69 && explicit.errors.contains("can't listen: [::1]:7779: address not"))
                let taken = try await lab.home.run(
                    [Natfwt.binary, "socks", "7777", "--socket", socket])
                #expect(taken.code == 69 && taken.errors.contains("can't listen: 127.0.0.1:7777: address already in"))
            }
        }

        @Test("status tells of what the settings want and the system refuses")
        func refused() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await switchOff(lab.home)
                let forward = Self.forward.replacingOccurrences(of: "\"7777\"", with: "\"[::1]:7777\"")
                try await deployment.start([], more: forward)
                let (agent, socket) = (try deployment.agent(), deployment.agentSocket())
                try await agent.says("[::1]:7777: address not available")
                let status = try await lab.home.check([Natfwt.binary, "status", "--socket", socket])
                #expect(status.contains("forward [::1]:7777 home:9000: can't listen, [::1]:7777: address not"))
                #expect(try await deployment.status(socket: socket, in: lab.home).contains("\"not-listening\":[{"))
            }
        }

        @Test("a relay whose kernel knows no IPv6 starts, and opens ports of both kinds for nodes")
        func relay() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try deployment.writeRelayConfiguration()
                let relay = try lab.relay.start(
                    script: "without-ipv6", [Natfwt.binary, "relay", "--config", deployment.relayConfiguration])
                try await relay.opens(Deployment.tunnelPort)
                let joined = try await deployment.join(try await deployment.invite().text)
                #expect(joined.code == 0, "\(joined)")
                try deployment.writeAgentConfiguration([
                    Exposure(.tcp, "127.0.0.1:7000", port: 7000), Exposure(.udp, "127.0.0.1:7000", port: 7000),
                ])
                try deployment.startAgent()
                try await relay.opens(7000)
                try await relay.opens(7000, .udp)
            }
        }
    }
}
