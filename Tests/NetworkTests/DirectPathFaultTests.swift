// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// Paths are cut, the relay dies, nodes are removed, strangers come to the port.
    @Suite("Direct paths hold, and end when they are to")
    struct DirectPathFaultTests {
        @Test("while the relay is dead the direct path goes on, and takes new connections")
        func relayDies() async throws {
            try await DirectPathSite.run { site in
                _ = try await site.forward("send 5000000; pause 3000; send 5000000; fin; drain")
                try await site.connect()
                let made = site.tunnels(over: "the relay")
                async let long = site.office.machine.talk(to: "127.0.0.1", port: 7001, "drain; fin")
                let service = try site.deployment.agent()
                try await until("the transfer has begun") { service.connections(onPort: 7000) > 0 }
                try await site.deployment.relay().destroy()
                try await site.office.agent.says("provider=relay reason=\"communication error\"")
                let short = try await site.office.machine.talk(to: "127.0.0.1", port: 7001, "read 1000; reset")
                #expect(short.received == 1000, "\(short)")
                let list = try await site.office.natfwt("nodes")
                #expect(list.code == 69 && "\(list)".contains("there is no session with the relay now"), "\(list)")
                #expect(list.output.contains(#/home  2001:2.* tunnel through a direct path, /#), "\(list)")
                #expect(!list.output.contains("laptop"), "\(list)")
                let came = try await long
                let expected = try await Talk.expected(10_000_000)
                #expect(came.end == "eof" && came.received == 10_000_000 && came.sha256 == expected, "\(came)")
                try await site.deployment.startRelay()
                try await until(
                    "the tunnel through the relay is there again\(site.office.agent.tail())", within: .seconds(15)
                ) { site.tunnels(over: "the relay") > made }
                #expect(site.tunnels(over: "a direct path") == 1, "\(site.office.agent.log)")
                try await site.becomes("direct")
            }
        }

        @Test("a path that is cut: its streams end, new ones go through the relay, and back once it is whole")
        func pathIsCut() async throws {
            try await DirectPathSite.run { site in
                _ = try await site.forward()
                try await site.connect()
                let script = """
                    import socket
                    end = socket.create_connection(("127.0.0.1", 7001), 5)
                    end.sendall(b"x"); assert end.recv(1) == b"x"
                    print("open", flush=True)
                    end.settimeout(30)
                    try: print("end", end.recv(1))
                    except ConnectionResetError: print("reset")
                    """
                let idle = try site.office.machine.start([Tool.python, "-u", "-c", script], as: "idle")
                try await idle.says("open")
                try await site.cut()
                try await idle.says("reset", within: .seconds(30))
                #expect(["relay", "joined"].contains(try await site.path()))
                try await until("new connections go through the relay", within: .seconds(5)) { try await site.echoes() }
                try await site.heal()
                // The other side is told of the new address, and tries.
                try await site.lab.home.check(["ip", "address", "add", "192.168.19.11/24", "dev", "eth0"])
                try await site.becomes("direct", within: .seconds(20))
                #expect(try await site.echoes())
            }
        }

        @Test(
            "the operator's word ends the direct tunnel too within five seconds",
            arguments: [["remove", "laptop"], ["allow", "laptop", "--no-reach"]])
        func forbidden(_ word: [String]) async throws {
            try await DirectPathSite.run { site in
                _ = try await site.forward()
                try await site.connect()
                let home = try site.deployment.agent()
                try await site.says(word)
                try await until("home has no direct connection", within: .seconds(5)) {
                    home.connections(onPort: DirectPathSite.port) == 0
                }
                #expect(try await !site.echoes())
            }
        }

        @Test("switched off by a reload and on again: only home can be connected to")
        func switchedOff() async throws {
            try await DirectPathSite.run { site in
                // Home can make no connection: it has to tell the laptop of its port each time.
                try await site.lab.home.nft(
                    """
                    table inet oneway {
                      chain out { type filter hook output priority filter; policy accept;
                        ip daddr 192.168.19.20 tcp flags & (syn | ack) == syn drop
                        ip6 daddr 2001:db8:19::20 tcp flags & (syn | ack) == syn drop
                      }
                    }

                    """)
                _ = try await site.forward()
                try await site.connect()
                let home = try site.deployment.agent()
                #expect(home.hasPort(DirectPathSite.port))
                try site.reloadHome(isEnabled: false)
                try await site.becomes("joined")
                #expect(!home.hasPort(DirectPathSite.port))
                #expect(try await site.echoes())
                try site.reloadHome(isEnabled: true)
                try await site.becomes("direct")
                #expect(try await site.echoes())
            }
        }

        @Test("strangers get nothing at the port, and keep no node out")
        func strangers() async throws {
            try await DirectPathSite.run { site in
                let home = try site.deployment.agent()
                #expect(!home.hasPort(DirectPathSite.port), "it listens for nobody")
                let before = home.descriptors
                _ = try await site.forward()
                try await site.connect()
                let folder = "\(site.lab.directory)/other"
                let joined = try await site.deployment.join(
                    try await site.deployment.invite("other").text, directory: folder)
                #expect(joined.code == 0, "\(joined)")
                let result = try await site.office.machine.run(
                    script: "stranger", ["192.168.19.10", "7777", folder, "\(folder)/node.key"])
                #expect(result.text == "nothing", "\(result)")

                // As many as there are places several times over, none of which says a word.
                let crowd = try site.lab.visitorAtHome(["hold", "192.168.19.10", "7777", "500"])
                try await crowd.says("held 500")
                try await site.office.agent.stop()
                let again = try site.office.machine.start(
                    [
                        Natfwt.binary, "agent", "--config",
                        site.deployment.agentConfiguration(site.office.directory),
                    ], as: "again")
                try await again.says("session active")
                try await again.opens(7001)
                try await site.connect()
                #expect(try await site.echoes())
                try await crowd.stop()
                try await again.stop()
                try await until("home's descriptors are \(before), and the port's two: \(home.descriptors)") {
                    home.descriptors <= before + 2
                }
            }
        }
    }
}

extension Lab {
    /// A crowd on home's network: on its router.
    fileprivate func visitorAtHome(_ arguments: [String]) throws -> Child {
        try router.start(script: "crowd", arguments)
    }
}
