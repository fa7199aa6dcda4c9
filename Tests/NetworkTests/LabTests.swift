// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests {
    /// The lab itself, proven with plain programs: what it says of a NAT or a fault must be true before anything else is
    /// tried in it. The topology is drawn in `Lab`.
    @Suite("The lab")
    struct LabTests {
        /// One socket at home asks three echo servers who they saw: the source ports tell the kind of mapping.
        @Test("maps ports as its kind of NAT says", arguments: NATKind.allCases)
        func mapping(_ nat: NATKind) async throws {
            try await Lab.run(nat: nat) { lab in
                let targets = [(lab.relay, 7001), (lab.relay, 7002), (lab.visitor, 7001)]
                for (machine, port) in targets {
                    let server = try machine.start(script: "udp", ["serve", "0.0.0.0", "\(port)"])
                    try await server.says("ready")
                }
                let asked = try await lab.home.run(
                    script: "udp", ["seen"] + targets.map { "\($0.0.address):\($0.1)" })
                struct Answer: Decodable { let local: Int, seen: [String] }
                let answer = try JSONDecoder().decode(Answer.self, from: Data(asked.text.utf8))
                let seen = answer.seen.map { $0.split(separator: " ").map(String.init) }
                #expect(seen.allSatisfy { $0.count == 2 }, "\(asked)")
                let addresses = Set(seen.map { $0[0] })
                let ports = Set(seen.map { $0[1] })
                #expect(addresses == [nat == .routed ? lab.home.address : Lab.wanAddress])
                if nat == .symmetric {
                    #expect(ports.count == 3 && !ports.contains("\(answer.local)"))
                } else {
                    #expect(ports == ["\(answer.local)"])
                }
            }
        }

        @Test("drops what nobody at home asked for, over both families", arguments: NATKind.allCases)
        func unsolicited(_ nat: NATKind) async throws {
            try await Lab.run(nat: nat) { lab in
                let server = try lab.home.start(script: "talk", ["serve", "::", "80", "echo"])
                try await server.says("ready")
                let target = nat == .routed ? lab.home.address : Lab.wanAddress
                for address in [target, lab.home.address6] {
                    let url = address.contains(":") ? "http://[\(address)]/" : "http://\(address)/"
                    let result = try await lab.visitor.run(["curl", "-s", "--connect-timeout", "0.4", url])
                    #expect(result.code == 28, "\(address) must time out, not answer: \(result)")
                }
            }
        }

        @Test("carries TCP from home over IPv4 and IPv6, by address and by name")
        func reaches() async throws {
            try await Lab.run { lab in
                _ = try await lab.relay.serve(port: 80, "echo")
                for host in ["203.0.113.10", "2001:db8:113::10", "relay4.test", "relay6.test", "relay.test"] {
                    let talk = try await lab.home.talk(to: host, port: 80, "send 1000; fin; drain")
                    #expect(talk.received == 1000 && talk.end == "eof", "\(host): \(talk)")
                }
            }
        }

        @Test("has no way out")
        func closed() async throws {
            try await Lab.run { lab in
                for machine in [lab.home, lab.relay, lab.visitor] {
                    let result = try await machine.run(["ip", "-o", "link"])
                    #expect(!result.output.contains("link-netnsid 0 eth"), "\(result)")
                    let name = try await machine.run(["curl", "-s", "--max-time", "2", "http://example.com/"])
                    #expect(name.code == 6, "no name outside the lab is known: \(name)")
                }
            }
        }

        @Test("refuses to run a command in a namespace that is gone")
        func failsClosed() async throws {
            try await Lab.run { lab in
                try await lab.visitor.check(["true"])
                _ = try await lab.home.run(["true"])
                let name = lab.visitor.name
                let gone = try Child("delete", ["/usr/sbin/ip", "netns", "del", name], directory: lab.directory)
                #expect(try await gone.ended() == 0)
                await #expect(throws: LabError.self) { try await lab.visitor.check(["true"]) }
            }
        }

        @Test("blackholes, heals, and cuts a link")
        func faults() async throws {
            try await Lab.run { lab in
                let server = try lab.relay.start(script: "udp", ["serve", "::", "7000"])
                try await server.says("ready")
                func answered() async throws -> Bool {
                    let result = try await lab.home.run(script: "udp", ["ask", "203.0.113.10", "7000", "1", "64"])
                    return result.output.contains("\"answered\": 1")
                }
                #expect(try await answered())
                for way in [Way.fromHome, .toHome, .both] {
                    try await lab.inflict(.blackhole(way))
                    #expect(try await answered() == false)
                    try await lab.heal()
                    #expect(try await answered())
                }
                try await lab.unplug("wan", of: lab.router)
                #expect(try await answered() == false)
                try await lab.replug(lab.router)
                #expect(try await answered())
                try await lab.forgetConnections()
                #expect(try await answered())
            }
        }

        @Test("resets a TCP connection at both ends")
        func resets() async throws {
            try await Lab.run { lab in
                let server = try lab.relay.start(script: "talk", ["serve", "::", "80", "echo"])
                try await server.says("ready")
                let client = try lab.home.start(
                    script: "talk", ["connect", "203.0.113.10", "80", "send 10; read 10; pause 300; send 10; drain"])
                try await until("the first bytes came back") { server.connections(onPort: 80) == 1 }
                try await lab.inflict(.reset(port: 80))
                try await client.ended()
                #expect(client.output.contains("\"end\": \"reset\""), "\(client.log)")
            }
        }

        @Test("delays and loses on the wire")
        func wire() async throws {
            try await Lab.run(wired: true) { lab in
                try lab.setWire(delayMilliseconds: 25)
                let slow = try await lab.home.check(["ping", "-c", "5", "-i", "0.1", "-q", "203.0.113.10"])
                // The least: what the machine does beside only adds to it.
                let least = try #require(slow.firstMatch(of: /mdev = ([0-9.]+)\//).flatMap { Double($0.1) })
                #expect((50...65).contains(least), "\(slow)")
                try lab.setWire(delayMilliseconds: 0, lossPercent: 50)
                let lossy = try await lab.home.run(["ping", "-c", "40", "-i", "0.02", "-W", "1", "-q", "203.0.113.10"])
                let text = lossy.output
                let percent = try #require(
                    text.split(separator: ",").first { $0.contains("packet loss") }?
                        .split(separator: "%").first.flatMap { Double($0.trimmingCharacters(in: .whitespaces)) })
                #expect((45...98).contains(percent), "half lost each way is three quarters: \(text)")
            }
        }

        @Test("leaves nothing behind, also after a failure")
        func cleansUp() async throws {
            var names: [String] = []
            var directory = ""
            var pids: [pid_t] = []
            await #expect(throws: LabError.self) {
                try await Lab.run { lab in
                    names = [lab.home, lab.router, lab.internet, lab.relay, lab.visitor].map(\.name)
                    directory = lab.directory
                    let stubborn = try lab.home.start(["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"])
                    try await until("it runs") { stubborn.isRunning }
                    pids = [stubborn.pid]
                    throw LabError("on purpose")
                }
            }
            #expect(names.count == 5)
            for name in names {
                #expect(!FileManager.default.fileExists(atPath: "/run/netns/\(name)"))
                #expect(!FileManager.default.fileExists(atPath: "/etc/netns/\(name)"))
            }
            #expect(!FileManager.default.fileExists(atPath: directory))
            #expect(pids.allSatisfy { kill($0, 0) != 0 })
        }
    }
}
