// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     home: curl, dig, iperf3 ── lan ─▶ router: TPROXY ─▶ agent "box" ══ relay ══ NAT ══ agent "home" at the office
    ///     (nothing installed)                                        └────▶ relay ─▶ visitor
    ///
    /// The router of a network is a node, and its hosts reach the others through it.
    @Suite("A gateway for a whole network")
    struct GatewayTests {
        private static let egress: Tables = [
            "egress": ["allow": "true", "also": "[\"198.51.100.0/24\", \"2001:db8:51::/48\"]"]
        ]
        private static let serve = """

            [[serve]]
            protocol = "tcp"
            ports = [8000, 7000, 7001, 5201]
            to = ["box"]

            [[serve]]
            protocol = "udp"
            ports = [53, 5201, 7000]
            to = ["box"]
            """
        private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("deploy/gateway").path

        /// A network whose router is a node with a gateway.
        struct Place {
            let deployment: Deployment
            /// Where the hosts are, the box through which they go, and the node that serves.
            let host: Namespace
            let box: Namespace
            let office: Namespace
            let agent: Child

            var lab: Lab { deployment.lab }
            var socket: String { deployment.agentSocket("\(lab.directory)/box") }

            func curl(_ arguments: String...) async throws -> Output {
                try await host.run(["curl", "-sS", "--max-time", "10"] + arguments)
            }

            func dig(_ arguments: String...) async throws -> Output {
                try await host.run(["dig", "+tries=1", "+time=5", "+short"] + arguments)
            }

            func gateway(_ arguments: String...) async throws -> Output {
                try await box.run([GatewayTests.script] + arguments)
            }

            /// A page of the place where it runs.
            func web(_ machine: Namespace, _ address: String, _ port: Int, _ text: String) async throws {
                let page = "\(lab.directory)/www-\(port)"
                try FileManager.default.createDirectory(atPath: page, withIntermediateDirectories: true)
                try text.write(toFile: "\(page)/index.html", atomically: true, encoding: .utf8)
                let server = try machine.start(
                    [Tool.python, "-m", "http.server", "\(port)", "--bind", address, "--directory", page])
                try await server.opens(port)
            }
        }

        /// - Parameter unit: whether the agent runs as its systemd unit, with the drop-in for gateways, has it.
        private func site(
            _ settings: String = "[gateway]", unit: Bool = false, _ body: (Place) async throws -> Void
        ) async throws {
            try await Lab.run(neighbour: true) { lab in
                let deployment = try Deployment(lab)
                try await deployment.startRelay(Self.egress)
                let office = try #require(lab.office)
                _ = try await deployment.addNode(
                    "home", on: office, directory: "\(lab.directory)/office", more: Self.serve)
                let directory = "\(lab.directory)/box"
                let agent = try await deployment.addNode(
                    "box", on: lab.router, directory: directory, more: settings,
                    wrapper: unit
                        ? SystemdUnit.agent.wrapper(state: directory, dropIns: ["natfwt-agent-gateway.conf"]) : [])
                try lab.home.etc("resolv.conf", "nameserver \(lab.visitor.address)\noptions timeout:2 attempts:1\n")
                let names = try lab.visitor.start(script: "dns", [lab.visitor.address, "53"])
                try await names.says("ready")
                try await body(
                    Place(deployment: deployment, host: lab.home, box: lab.router, office: office, agent: agent))
            }
        }

        @Test(
            "the agent needs no more than its systemd unit gives it, with the drop-in",
            .enabled(if: Tool.has("curl", "dig", "setpriv"), "needs curl, dig and setpriv"))
        func unit() async throws {
            try await site("[gateway]\negress = true", unit: true) { place in
                let up = try await place.gateway("up", "lan", "--egress")
                #expect(up.code == 0, "\(up)")
                let status = try String(contentsOfFile: "/proc/\(place.agent.pid)/status", encoding: .utf8)
                #expect(status.contains("CapEff:\t0000000000002400") && status.contains("NoNewPrivs:\t1"), "\(status)")
                try await place.web(place.office, "127.0.0.1", 8000, "hello from home\n")
                for family in ["-4", "-6"] {
                    let page = try await place.curl(family, "http://home.natfwt.internal:8000/")
                    #expect(page.text == "hello from home", "\(family): \(page)")
                }
                // From port 53, in the name of a server that is another host's.
                #expect(try await place.dig("example.org", "A").text == "203.0.113.99")
                #expect(try await place.dig("home.natfwt.internal", "AAAA").text.hasPrefix("2001:2"))
            }
        }

        @Test("hosts with nothing installed reach a node by its name", .enabled(if: Tool.has("curl", "dig")))
        func names() async throws {
            try await site { place in
                let up = try await place.gateway("up", "lan")
                #expect(up.code == 0, "\(up)")
                try await place.web(place.office, "127.0.0.1", 8000, "hello from home\n")
                for family in ["-4", "-6"] {
                    let page = try await place.curl(family, "http://home.natfwt.internal:8000/")
                    #expect(page.text == "hello from home", "\(family): \(page)")
                }
                let mapped = try await place.dig("home.natfwt.internal", "A").text
                #expect(mapped.hasPrefix("198.18.") || mapped.hasPrefix("198.19."), "\(mapped)")
                #expect(try await place.dig("home.natfwt.internal", "AAAA").text.hasPrefix("2001:2"))
                #expect(try await place.dig("-x", mapped).text == "home.natfwt.internal.")
                // Other names: by the server that was asked, over both transports of the question.
                #expect(try await place.dig("example.org", "A").text == "203.0.113.99")
                #expect(try await place.dig("+tcp", "example.org", "A").text == "203.0.113.99")
                let nobody = try await place.host.run(["dig", "+tries=1", "nobody.natfwt.internal"])
                #expect(nobody.output.contains("NXDOMAIN"), "\(nobody)")
                // The box's own addresses are servers too, also the one that only this link has.
                let link = try await place.box.check(["ip", "-6", "-o", "addr", "show", "dev", "lan", "scope", "link"])
                let local = try #require(
                    link.split(separator: " ").first { $0.hasPrefix("fe80:") }?.split(separator: "/").first)
                for server in ["@192.168.19.1", "@2001:db8:19::1", "@\(local)%eth0"] {
                    #expect(try await place.dig(server, "home.natfwt.internal").text == mapped, "\(server)")
                }
                // A node's own server is asked itself, also for names of the suffix.
                let served = try place.office.start(script: "dns", ["127.0.0.1", "53"])
                try await served.says("ready")
                for server in ["@\(mapped)", "@\(try await place.dig("home.natfwt.internal", "AAAA").text)"] {
                    #expect(try await place.dig(server, "x.natfwt.internal", "A").text == "203.0.113.99", "\(server)")
                }
                // What is not for a node goes its usual way.
                try await place.web(place.lab.visitor, place.lab.visitor.address, 80, "past the agent\n")
                #expect(try await place.curl("http://\(place.lab.visitor.address)/").text == "past the agent")
            }
        }

        @Test("TCP and UDP by iperf3, and datagrams of all sizes", .enabled(if: Tool.has("iperf3")))
        func load() async throws {
            try await site { place in
                _ = try await place.gateway("up", "lan")
                let server = try place.office.start(["iperf3", "-s", "-B", "127.0.0.1"])
                try await server.opens(5201)
                for options in [["-t", "1"], ["-t", "1", "-R"], ["-u", "-b", "20M", "-t", "1"]] {
                    for family in ["-4", "-6"] {
                        let result = try await place.host.run(
                            ["iperf3", "-c", "home.natfwt.internal", family] + options)
                        #expect(result.code == 0, "\(options) \(family): \(result)")
                    }
                }
                let echo = try place.office.start(script: "udp", ["serve", "127.0.0.1", "7000"])
                try await echo.says("ready")
                for size in ["4", "1200", "1472", "5000"] {
                    let answers = try await place.host.run(
                        script: "udp", ["ask", "home.natfwt.internal", "7000", "20", size])
                    #expect(answers.text.contains("\"answered\": 20"), "\(size): \(answers)")
                }
            }
        }

        @Test("half-close and reset are kept; a port that is not served is reset")
        func ends() async throws {
            try await site { place in
                _ = try await place.gateway("up", "lan")
                let service = try place.office.start(
                    script: "talk", ["serve", "127.0.0.1", "7000", "drain; send 500000; close"])
                let resetting = try place.office.start(
                    script: "talk", ["serve", "127.0.0.1", "7001", "read 10; reset"])
                try await service.opens(7000)
                try await resetting.opens(7001)
                let name = "home.natfwt.internal"
                let kept = try await place.host.run(
                    script: "talk", ["connect", name, "7000", "send 1000000; fin; drain"])
                #expect(kept.text.contains("\"received\": 500000") && kept.text.contains("\"end\": \"eof\""), "\(kept)")
                let reset = try await place.host.run(script: "talk", ["connect", name, "7001", "send 10; drain"])
                #expect(reset.text.contains("\"end\": \"reset\""), "\(reset)")
                for port in ["9", "8000"] {
                    let refused = try await place.host.run(script: "talk", ["connect", name, port, "drain"])
                    #expect(refused.text.contains("\"end\": \"reset\""), "\(port): \(refused)")
                }
                let nobody = try await place.host.run(script: "talk", ["connect", "198.19.255.254", "80", "drain"])
                #expect(nobody.text.contains("\"end\": \"reset\""), "\(nobody)")
                #expect(place.agent.log.contains("no node was given that address"))
            }
        }

        @Test("with egress everything else goes out through the relay", .enabled(if: Tool.has("curl", "dig")))
        func out() async throws {
            try await site("[gateway]\negress = true") { place in
                try await place.deployment.lab.relay.check([
                    Natfwt.binary, "nodes", "allow", "box", "--egress", "--config",
                    place.deployment.relayConfiguration,
                ])
                #expect(try await place.gateway("up", "lan", "--egress").code == 0)
                let visitor = place.lab.visitor
                let server = try visitor.start(script: "talk", ["serve", "0.0.0.0", "7000", "drain; send 10; close"])
                let server6 = try visitor.start(script: "talk", ["serve", "::", "7001", "drain; send 10; close"])
                try await server.opens(7000)
                try await server6.opens(7001)
                for (address, port, relay) in [
                    (visitor.address, "7000", place.lab.relay.address),
                    (visitor.address6, "7001", place.lab.relay.address6),
                ] {
                    try await until("it is let out: \(address)") {
                        try await place.host.run(script: "talk", ["connect", address, port, "send 5; fin; drain"]).text
                            .contains("\"received\": 10")
                    }
                    #expect((server.log + server6.log).contains(relay), "\(server.log)\(server6.log)")
                }
                let echo = try visitor.start(script: "udp", ["serve", visitor.address, "7000"])
                try await echo.says("ready")
                let answers = try await place.host.run(script: "udp", ["ask", visitor.address, "7000", "5", "100"])
                #expect(answers.text.contains("\"answered\": 5"), "\(answers)")
                #expect(echo.log.contains("from \(place.lab.relay.address)"), "\(echo.log)")
                let refused = try await place.host.run(script: "talk", ["connect", visitor.address, "9", "drain"])
                #expect(refused.text.contains("\"end\": \"reset\""), "\(refused)")
                // The names of others are still looked up by the server that was asked, also while no agent runs: then
                // nothing else goes past it.
                #expect(try await place.dig("example.org", "A").text == "203.0.113.99")
                place.agent.signal(SIGKILL)
                _ = try await place.agent.ended()
                #expect(try await place.dig("example.org", "A").text == "203.0.113.99")
                let overTCP = try visitor.start(script: "talk", ["serve", visitor.address, "53", "send 10; fin"])
                try await overTCP.opens(53)
                let answer = try await place.host.run(script: "talk", ["connect", visitor.address, "53", "drain"])
                #expect(answer.text.contains("\"received\": 10"), "\(answer)")
                let past = try await place.curl("--max-time", "1", "http://\(visitor.address):7000/")
                #expect(past.code == 28, "\(past)")
                let node = try await place.host.run(["dig", "+tries=1", "+time=1", "@198.18.0.1", "example.org"])
                #expect(node.code == 9, "questions for a node's address are no others' affair: \(node)")
            }
        }

        @Test("the script says which argument is wrong", arguments: ["0", "65536", "99999", "x", "-1"])
        func arguments(_ port: String) async throws {
            try await Lab.run { lab in
                let up = try await lab.router.run([Self.script, "up", "lan", "--port", port])
                #expect(up.code == 1 && up.errors.contains("--port \(port): expected a port"), "\(up)")
                #expect(!up.errors.contains("nft"), "\(up)")
                let rules = try await lab.router.check(["nft", "list", "ruleset"])
                #expect(!rules.contains("natfwt_gateway"))
            }
        }

        @Test("who finds the port gets nothing, and the box is left as it was")
        func leftovers() async throws {
            try await site { place in
                func state() async throws -> String {
                    try await place.box.check([
                        "sh", "-c",
                        "nft list ruleset; ip rule; ip -6 rule; for f in -4 -6; do ip $f route show table 100 2>/dev/null || :; done",
                    ])
                }
                let before = try await state()
                // Without the packet filter.
                let found = try await place.host.run(script: "talk", ["connect", "192.168.19.1", "4080", "drain"])
                #expect(found.text.contains("\"end\": \"reset\""), "\(found)")
                #expect(place.agent.log.contains("not led here by the packet filter"))
                for _ in 0..<2 { #expect(try await place.gateway("up", "lan").code == 0) }
                let up = try await state()
                #expect(up.components(separatedBy: "lookup 100").count == 3, "one rule for each family: \(up)")
                let again = try await place.host.run(
                    [Tool.python, "-c", "import socket; socket.create_connection(('192.168.19.1', 4080), 5)"])
                #expect(again.errors.contains("ConnectionRefusedError"), "\(again)")
                // The agent dies: nothing goes past it, and questions go on to their servers.
                place.agent.signal(SIGKILL)
                _ = try await place.agent.ended()
                let lost = try await place.host.run(["curl", "-sS", "--max-time", "1", "http://198.18.0.1/"])
                #expect(lost.code == 28, "\(lost)")
                #expect(try await place.dig("example.org", "A").text == "203.0.113.99")
                for _ in 0..<2 { #expect(try await place.gateway("down").code == 0) }
                #expect(try await state() == before)
            }
        }

        @Test(
            "the agent needs two capabilities, and says so where it has not",
            .enabled(if: Tool.has("dig", "setpriv")))
        func capability() async throws {
            try await site("") { place in
                _ = try await place.gateway("up", "lan")
                try await place.agent.stop()
                let directory = "\(place.lab.directory)/box"
                let configuration = place.deployment.agentConfiguration(directory)
                func start(_ options: String...) async throws -> Child {
                    let child = try place.box.start(
                        ["setpriv"] + options + [Natfwt.binary, "agent", "--config", configuration], as: "agent-box")
                    try await child.says("session active")
                    return child
                }
                for missing in ["-net_admin,-net_raw", "-net_bind_service"] {
                    let without = try await start("--inh-caps=\(missing)", "--bounding-set=\(missing)")
                    let refused = try await place.box.run([Natfwt.binary, "gateway", "--socket", place.socket])
                    #expect(refused.code == 69 && refused.errors.contains("CAP_NET_RAW"), "\(missing): \(refused)")
                    try await without.stop()
                }
                let with = try await start(
                    "--inh-caps=-all,+net_raw,+net_bind_service", "--ambient-caps=-all,+net_raw,+net_bind_service",
                    "--bounding-set=-all,+net_raw,+net_bind_service")
                let command = try place.box.start([Natfwt.binary, "gateway", "--socket", place.socket])
                try await command.says("port 4080")
                #expect(try await place.dig("home.natfwt.internal", "A").text.hasPrefix("198.1"), "\(with.log)")
                #expect(!with.log.contains("can't be brought"), "\(with.log)")
            }
        }

        @Test("in the foreground it lasts as long as the command", .enabled(if: Tool.has("dig")))
        func command() async throws {
            try await site("") { place in
                _ = try await place.gateway("up", "lan", "--port", "4081")
                let command = try place.box.start([Natfwt.binary, "gateway", "4081", "--socket", place.socket])
                try await command.says("port 4081")
                #expect(try await place.dig("home.natfwt.internal", "A").text.hasPrefix("198.1"))
                let status = try await place.deployment.status(socket: place.socket, in: place.box)
                #expect(status.contains("\"gateway\""), "\(status)")
                command.signal(SIGINT)
                #expect(try await command.ended() == 0)
                try await until("it listens no more") { !place.agent.hasPort(4081) && !place.agent.hasPort(4081, .udp) }
            }
        }
    }
}
