// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// Two nodes behind two NATs, whose connections the relay makes one of.
    @Suite("Nodes that don't reach each other meet at the relay")
    struct JoinedPathTests {
        private static func run(_ body: (DirectPathSite) async throws -> Void) async throws {
            try await DirectPathSite.run(isShared: false) { site in
                let ping = try await site.office.natfwt("ping", "home", "--count", "1")
                #expect(ping.code == 0, "\(ping)")
                try await site.becomes("joined")
                try await body(site)
            }
        }

        private struct RelayStatus: Decodable {
            struct Joined: Decodable {
                let connections: Int
                let bytes: Int
            }
            let joined: Joined
        }

        private static func joined(_ deployment: Deployment) async throws -> RelayStatus.Joined {
            let status = try await deployment.status(socket: deployment.relaySocket, in: deployment.lab.relay)
            return try JSONDecoder().decode(RelayStatus.self, from: Data(status.utf8)).joined
        }

        @Test("bytes arrive whole, both ways at once, and the relay only passes them on")
        func bulk() async throws {
            try await Self.run { site in
                let service = try await site.forward("drain; send 20000000; close")
                let talk = try await site.office.machine.talk(
                    to: "127.0.0.1", port: 7001, "send 20000000; fin; drain")
                let expected = try await Talk.expected(20_000_000)
                #expect(talk.end == "eof" && talk.received == 20_000_000 && talk.sha256 == expected, "\(talk)")
                let served = try Talk.last(in: service.output)
                #expect(served.end == "eof" && served.received == 20_000_000 && served.sha256 == expected, "\(served)")
                let joined = try await Self.joined(site.deployment)
                #expect(joined.connections == 1 && joined.bytes > 40_000_000, "\(joined)")
                #expect(try await site.path() == "joined")
            }
        }

        /// Whoever looks on sees two connections of each node with the relay, each of them TLS from its beginning to its end.
        @Test("nobody in between reads anything, or sees anything but one TLS connection")
        func secrecy() async throws {
            try await DirectPathSite.run(isShared: false) { site in
                let text = "these words are for home alone"
                let listener = try site.lab.relay.start(script: "records", ["443", "8", text])
                try await listener.says("listening")
                _ = try await site.forward()
                #expect(try await site.office.natfwt("ping", "home", "--count", "1").code == 0)
                try await site.becomes("joined", within: .seconds(5))
                let script = """
                    import socket, sys
                    end = socket.create_connection(("127.0.0.1", 7001), 5)
                    end.sendall(sys.argv[1].encode() * 100); end.shutdown(socket.SHUT_WR)
                    while end.recv(65536): pass
                    """
                let result = try await site.office.machine.run([Tool.python, "-c", script, text])
                #expect(result.code == 0, "\(result)")
                #expect(try await listener.ended(within: .seconds(20)) == 0)
                let line = try #require(listener.output.split(separator: "\n").last)
                let seen = try JSONDecoder().decode(Seen.self, from: Data(line.utf8))
                #expect(!seen.found && seen.bytes > 100 * text.utf8.count && seen.connections >= 2)
                for types in seen.types where types.first == 22 {
                    let data = types.firstIndex(of: 23) ?? types.count
                    #expect(types[data...].allSatisfy { $0 == 23 }, "\(types)")
                }
                #expect(seen.types.count { $0.first == 22 } >= 4, "\(seen.types)")
            }
        }

        private struct Seen: Decodable {
            let connections: Int
            let bytes: Int
            let found: Bool
            let types: [[Int]]
        }

        @Test("half-close and reset pass as they are")
        func halves() async throws {
            try await Self.run { site in
                _ = try await site.office.start("forward", "7000", "home:7000", opening: 7000)
                for this in HalfCloseTests.orderly + HalfCloseTests.abrupt {
                    try await this.play(visitor: site.office.machine, service: site.lab.home, at: "127.0.0.1")
                }
                #expect(try await site.path() == "joined")
            }
        }

        @Test("short connections: each is answered, none leaves anything")
        func shortConnections() async throws {
            try await Self.run { site in
                _ = try await site.forward()
                let (office, home, relay) =
                    (site.office.agent, try site.deployment.agent(), try site.deployment.relay())
                try await site.visits(2_000)
                let before = (office.descriptors, home.descriptors, relay.descriptors)
                try await site.visits(2_000)
                try await until("the descriptors are \(before)") {
                    office.descriptors <= before.0 && home.descriptors <= before.1 && relay.descriptors <= before.2
                }
                #expect(try await site.path() == "joined")
            }
        }

        @Test("kill -9 of the relay: what was open is reset, and with the relay all is there again")
        func relayIsKilled() async throws {
            try await Self.run { site in
                _ = try await site.forward()
                let talk = try site.office.machine.start(
                    script: "talk", ["connect", "127.0.0.1", "7001", "send 10; drain"])
                let home = try site.deployment.agent()
                try await until("the connection is there") { home.connections(onPort: 7000) > 0 }
                await (try site.deployment.relay()).destroy()
                try await until("it is reset", within: .seconds(10)) { !talk.isRunning }
                try await site.deployment.startRelay()
                try await until("a new one is answered", within: .seconds(20)) { try await site.echoes() }
                try await site.becomes("joined")
                #expect(try await site.echoes())
            }
        }

        @Test("a relay that stops waits for what is open, and no longer")
        func relayDrains() async throws {
            try await Self.run { site in
                _ = try await site.forward("send 1000000; pause 2000; send 1000000; fin; drain")
                let relay = try site.deployment.relay()
                async let talk = site.office.machine.talk(to: "127.0.0.1", port: 7001, "drain; fin")
                let home = try site.deployment.agent()
                try await until("the connection is there") { home.connections(onPort: 7000) > 0 }
                relay.signal(SIGTERM)
                let came = try await talk
                let expected = try await Talk.expected(2_000_000)
                #expect(came.end == "eof" && came.received == 2_000_000 && came.sha256 == expected, "\(came)")
                #expect(try await relay.ended(within: .seconds(5)) == 0)
            }
        }

        @Test(
            "the operator's word ends it within five seconds",
            arguments: [["remove", "laptop"], ["allow", "laptop", "--no-reach"]])
        func forbidden(_ word: [String]) async throws {
            try await Self.run { site in
                _ = try await site.forward()
                try await site.says(word)
                #expect(try await !site.echoes())
                #expect(try await Self.joined(site.deployment).connections == 0)
            }
        }
    }
}
