// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     visitor ──▶ relay:8080 ═══ tunnel ═══ NAT ═══ agent ──▶ 127.0.0.1:80 at home (python, nginx, socat)
    ///             ──▶ relay:8053/udp ══════════════════ agent ──▶ 127.0.0.1:53 at home
    ///
    /// What applications that know nothing of it see: curl, dig and plain sockets.
    @Suite("Exposed services answer")
    struct ExposeTests {
        /// The relay as a visitor may write it.
        static let hosts = ["203.0.113.10", "[2001:db8:113::10]", "relay4.test", "relay6.test", "relay.test"]

        @Test("curl fetches from python's http.server behind every kind of NAT", arguments: NATKind.allCases)
        func web(_ nat: NATKind) async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:80", port: 8080)], nat: nat) { deployment in
                let lab = deployment.lab
                let page = "\(lab.directory)/www"
                try FileManager.default.createDirectory(atPath: page, withIntermediateDirectories: true)
                try "hello from home\n".write(toFile: "\(page)/index.html", atomically: true, encoding: .utf8)
                let server = try lab.home.start(
                    [Tool.python, "-m", "http.server", "80", "--bind", "127.0.0.1", "--directory", page])
                try await server.opens(80)
                for host in Self.hosts {
                    let result = try await lab.visitor.run(
                        ["curl", "-sS", "--max-time", "10", "http://\(host):8080/index.html"])
                    #expect(result.text == "hello from home", "\(host): \(result)")
                }
            }
        }

        @Test("nginx serves a large file whole", .enabled(if: Tool.has("nginx"), "needs nginx"))
        func nginx() async throws {
            try await Lab.deployed([Exposure(.tcp, "[::1]:80", port: 8080)]) { deployment in
                let lab = deployment.lab
                try await lab.home.check(["sh", "-ec", "head -c 20000000 /dev/urandom > \(lab.directory)/file"])
                try """
                daemon off; pid \(lab.directory)/nginx.pid; error_log stderr; user root;
                events {}
                http { access_log off; server { listen [::1]:80; root \(lab.directory); } }
                """.write(toFile: "\(lab.directory)/nginx.conf", atomically: true, encoding: .utf8)
                let server = try lab.home.start(["nginx", "-c", "\(lab.directory)/nginx.conf"])
                try await server.opens(80)
                try await lab.visitor.check([
                    "sh", "-ec",
                    "curl -sS --max-time 30 http://relay.test:8080/file | cmp - \(lab.directory)/file",
                ])
            }
        }

        @Test("a host name as the service is looked up where the agent runs", arguments: ["localhost", "service.test"])
        func named(_ name: String) async throws {
            try await Lab.run { lab in
                try lab.home.hosts(["203.0.113.10 relay.test", "127.0.0.1 service.test"])
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.start([Exposure(.tcp, "\(name):7000", port: 7000)])
                let talk = try await lab.visitor.talk(to: "relay.test", port: 7000, "send 1000; fin; drain")
                #expect(talk.received == 1000 && talk.end == "eof")
            }
        }

        @Test("the tunnel itself goes over IPv4, IPv6 or a name", arguments: hosts)
        func tunnelled(over host: String) async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await deployment.startRelay()
                let invite = try await deployment.invite("home", ["--address", "\(host):443"])
                let joined = try await deployment.join(invite.text)
                #expect(joined.code == 0, "\(joined)")
                let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)
                try deployment.writeAgentConfiguration([exposure])
                try deployment.startAgent()
                try await deployment.opened([exposure])
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 1000; fin; drain")
                #expect(talk.received == 1000)
            }
        }

        @Test(
            "UDP echoes over both families, from one byte to the largest",
            arguments: ["203.0.113.10", "2001:db8:113::10"])
        func udp(_ address: String) async throws {
            try await Lab.deployed([Exposure(.udp, "127.0.0.1:5353", port: 5353)]) { deployment in
                let lab = deployment.lab
                let server = try lab.home.start(script: "udp", ["serve", "127.0.0.1", "5353"])
                try await server.says("ready")
                for size in [4, 64, 1200, 1472, 9000, 60000] {
                    let result = try await lab.visitor.run(script: "udp", ["ask", address, "5353", "20", "\(size)"])
                    #expect(result.output.contains("\"answered\": 20"), "\(size) bytes: \(result)")
                }
            }
        }

        @Test("dig asks a name server at home", .enabled(if: Tool.has("dig"), "needs dig"))
        func dig() async throws {
            try await Lab.deployed([Exposure(.udp, "127.0.0.1:53", port: 5300)]) { deployment in
                let lab = deployment.lab
                let server = try lab.home.start(script: "dns", ["127.0.0.1", "53"])
                try await server.says("ready")
                for address in lab.relay.addresses {
                    let answer = try await lab.visitor.run([
                        "dig", "+short", "+time=3", "+tries=1", "-p", "5300", "@\(address)", "anything.example",
                    ])
                    #expect(answer.text == "203.0.113.99", "\(answer)")
                }
            }
        }

        @Test("each visitor's address is a UDP flow of its own")
        func flows() async throws {
            try await Lab.deployed([Exposure(.udp, "127.0.0.1:5353", port: 5353)]) { deployment in
                let lab = deployment.lab
                let server = try lab.home.start(script: "udp", ["serve", "127.0.0.1", "5353"])
                try await server.says("ready")
                for _ in 0..<5 {
                    let result = try await lab.visitor.run(script: "udp", ["ask", "203.0.113.10", "5353", "3", "100"])
                    #expect(result.output.contains("\"answered\": 3"), "\(result)")
                }
                #expect(server.output.split(separator: "\n").count { $0.hasPrefix("from") } == 5)
            }
        }

        @Test("a range of ports goes to a range of services, one by one")
        func range() async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:7000-7004", ports: 21000...21004)]) { deployment in
                let lab = deployment.lab
                for offset in 0...4 {
                    _ = try await lab.home.serve(port: 7000 + offset, "send \(100 + offset); fin; drain")
                    let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 21000 + offset, "drain; fin")
                    #expect(talk.received == 100 + offset)
                }
            }
        }

        @Test("a busy port is refused by name, and the other exposures work")
        func busy() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                _ = try await lab.home.serve(port: 7000, "echo")
                let squatter = try await lab.relay.serve(port: 7001, "close")
                #expect(squatter.isRunning)
                let good = Exposure(.tcp, "127.0.0.1:7000", port: 7000)
                try await deployment.start([good, Exposure(.tcp, "127.0.0.1:7000", port: 7001)])
                try await deployment.agent().says("7001")
                let log = try deployment.agent().log.split(separator: "\n").filter { $0.contains("7001") }
                #expect(log.contains { $0.contains("in use") || $0.contains("busy") }, "\(log)")
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                #expect(talk.received == 10)
            }
        }

        @Test("the quick way: natfwt expose")
        func quick() async throws {
            try await Lab.deployed([]) { deployment in
                let lab = deployment.lab
                try await deployment.agent().stop()
                _ = try await lab.home.serve(port: 7000, "echo")
                let quick = try lab.home.start(
                    [
                        Natfwt.binary, "expose", "tcp", "127.0.0.1:7000", "--port", "7000", "--config",
                        deployment.agentConfiguration(),
                    ])
                try await deployment.opened([Exposure(.tcp, "", port: 7000)])
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: 7000, "send 10; fin; drain")
                #expect(talk.received == 10)
                #expect(try await quick.stop() == 0)
            }
        }

        @Test("natfwt expose does not start beside a running agent, and leaves it alone")
        func quickBesideAgent() async throws {
            let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)
            try await Lab.deployed([exposure]) { deployment in
                let quick = try deployment.lab.home.start(
                    [
                        Natfwt.binary, "expose", "tcp", "127.0.0.1:7000", "--port", "7001", "--config",
                        deployment.agentConfiguration(),
                    ])
                #expect(try await quick.ended() == 69)
                #expect(quick.log.contains("an agent of this node is running"), "\(quick.log)")
                #expect(TerminationReason.all(in: try deployment.agent().log).isEmpty)
            }
        }

        @Test("a port that nobody asked for is given by the relay and told")
        func automatic() async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:7000", port: 0)]) { deployment in
                let lab = deployment.lab
                _ = try await lab.home.serve(port: 7000, "echo")
                let status = try await eventually("the status names a port") { () -> String? in
                    // The agent was only just started: there is no port by which to know that it is there.
                    let text = try? await deployment.status(socket: deployment.agentSocket(), in: lab.home)
                    return text?.contains(/\b2\d{4}\b/) == true ? text : nil
                }
                let port = try #require(status.firstMatch(of: /\b2\d{4}\b/).flatMap { Int($0.0) })
                let talk = try await lab.visitor.talk(to: "203.0.113.10", port: port, "send 10; fin; drain")
                #expect(talk.received == 10, "\(status)")
            }
        }
    }
}
