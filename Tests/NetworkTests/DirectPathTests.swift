// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// Two nodes that reach each other without the relay, which brings them together.
    @Suite("Nodes that reach each other connect directly")
    struct DirectPathTests {
        @Test("what goes through a forward does not pass the relay, and arrives whole")
        func bulk() async throws {
            try await DirectPathSite.run { site in
                let service = try await site.forward("drain; send 20000000; close")
                try await site.connect()
                let relay = try site.deployment.relay()
                let before = relay.networkBytes
                let talk = try await site.office.machine.talk(
                    to: "127.0.0.1", port: 7001, "send 20000000; fin; drain")
                let expected = try await Talk.expected(20_000_000)
                #expect(talk.end == "eof" && talk.received == 20_000_000 && talk.sha256 == expected, "\(talk)")
                let served = try Talk.last(in: service.output)
                #expect(served.end == "eof" && served.received == 20_000_000 && served.sha256 == expected, "\(served)")
                #expect(relay.networkBytes - before < 1_000_000)
                #expect(try await site.path() == "direct")
            }
        }

        @Test("a connection that was open before stays where it is")
        func earlier() async throws {
            try await DirectPathSite.run { site in
                _ = try await site.forward("send 1000000; pause 3000; send 1000000; fin; drain")
                // It makes the tunnel, and is there before there can be a direct one.
                async let talk = site.office.machine.talk(to: "127.0.0.1", port: 7001, "drain; fin")
                try await site.becomes("direct")
                let came = try await talk
                let expected = try await Talk.expected(2_000_000)
                #expect(came.end == "eof" && came.received == 2_000_000 && came.sha256 == expected, "\(came)")
            }
        }

        @Test("half-close and reset pass as they are")
        func halves() async throws {
            try await DirectPathSite.run { site in
                _ = try await site.office.start("forward", "7000", "home:7000", opening: 7000)
                try await site.connect()
                for this in HalfCloseTests.orderly + HalfCloseTests.abrupt {
                    try await this.play(visitor: site.office.machine, service: site.lab.home, at: "127.0.0.1")
                }
                #expect(try await site.path() == "direct")
            }
        }

        @Test("short connections: each is answered, none leaves anything")
        func shortConnections() async throws {
            try await DirectPathSite.run { site in
                _ = try await site.forward()
                try await site.connect()
                let (office, home) = (site.office.agent, try site.deployment.agent())
                try await site.visits(2_000)
                let before = (office.descriptors, home.descriptors, office.memoryKiB, home.memoryKiB)
                try await site.visits(2_000)
                try await until("the descriptors are \(before): \(office.descriptors), \(home.descriptors)") {
                    office.descriptors <= before.0 && home.descriptors <= before.1
                }
                #expect(office.memoryKiB < before.2 + 20_000 && home.memoryKiB < before.3 + 20_000)
                #expect(try await site.path() == "direct")
            }
        }

        @Test("a network without IPv4")
        func onlyIPv6() async throws {
            try await DirectPathSite.run(options: ["--address", "[2001:db8:113::10]:443"]) { lab in
                for machine in [lab.home, try #require(lab.office)] {
                    try await machine.check(["ip", "-4", "address", "flush", "dev", "eth0"])
                }
            } _: { site in
                _ = try await site.forward()
                try await site.connect()
                #expect(try await site.echoes())
            }
        }

        @Test("two nodes on one host")
        func oneHost() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], more: DirectPathSite.serve)
                try await deployment.agent().says("session active")
                let office = try await NodeToNodeTests.Office(deployment, on: lab.home)
                let site = DirectPathSite(deployment: deployment, office: office)
                _ = try await site.forward()
                try await site.connect()
                #expect(try await site.echoes())
            }
        }

        @Test("behind two NATs they meet at the relay, and nobody is bothered with that")
        func apart() async throws {
            try await DirectPathSite.run(isShared: false) { site in
                _ = try await site.forward()
                #expect(try await site.echoes())
                let agents = [site.office.agent, try site.deployment.agent()]
                for agent in agents { try await agent.says("the node can't be reached directly", within: .seconds(15)) }
                try await site.becomes("joined")
                #expect(try await site.echoes())
                for agent in agents {
                    let loud = agent.log.split(separator: "\n").filter { $0.contains(#/Z (warning|error|critical) /#) }
                    #expect(loud.isEmpty, "\(agent.name): \(loud)")
                }
            }
        }

        @Test("behind two NATs, of which one forwards the port: where the relay sees home is an address of it")
        func forwarded() async throws {
            try await DirectPathSite.run(isShared: false) { lab in
                try await lab.router.nft(
                    """
                    table ip forwarded {
                      chain pre { type nat hook prerouting priority dstnat;
                        iifname "wan" tcp dport \(DirectPathSite.port) dnat to \(lab.home.address)
                      }
                    }
                    insert rule inet filter forward iifname "wan" tcp dport \(DirectPathSite.port) accept

                    """)
            } _: { site in
                _ = try await site.forward()
                try await site.connect()
                #expect(try await site.echoes())
            }
        }

        /// What answers at one of home's addresses, as the laptop sees the network.
        enum Impostor: String, CaseIterable {
            /// Takes the connection and says nothing; closes it at once; says something.
            case silent = "drain", closing = "close", talking = "send 10000; drain"
        }

        @Test("somebody else has one of the addresses: the node is found at another", arguments: Impostor.allCases)
        func impostor(_ impostor: Impostor) async throws {
            try await DirectPathSite.run { lab in
                // To the router this address is its own, and home's is nearer than all others.
                try await lab.home.configureAddress("10.9.0.1/32")
                try await lab.router.configureAddress("10.9.0.1/32")
            } _: { site in
                let server = try await site.lab.router.serve(
                    "10.9.0.1", port: DirectPathSite.port, impostor.rawValue)
                _ = try await site.forward()
                try await site.connect()
                try await until("the impostor was asked") { !(try Talk.all(in: server.output).isEmpty) }
                #expect(try await site.echoes())
            }
        }
    }
}

extension Namespace {
    /// One more address, on the loopback interface.
    fileprivate func configureAddress(_ address: String) async throws {
        try await check(["ip", "address", "add", address, "dev", "lo"])
    }
}
