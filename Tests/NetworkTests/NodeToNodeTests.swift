// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     office: curl, ssh ─▶ forward, SOCKS ─▶ agent ══ NAT ══ relay ══ NAT ══ agent ─▶ what home serves
    ///
    /// Two nodes behind two NATs, neither of which has a public port. What programs that know nothing of it see.
    @Suite("Nodes reach each other")
    struct NodeToNodeTests {
        private static let serve = """

            [[serve]]
            protocol = "tcp"
            ports = [80, 22, 7000]
            to = ["laptop"]

            [[serve]]
            protocol = "udp"
            ports = [53]
            to = ["laptop"]
            """

        /// A relay, home that serves, and a laptop at the office.
        /// - Parameter isDirect: whether the two are on one network, and need no relay by the time that `body` is called.
        private func site(
            serving rules: String = serve, nat: NATKind = .linux, isDirect: Bool = false,
            _ body: (Deployment, Office) async throws -> Void
        ) async throws {
            try await Lab.run(nat: nat, neighbour: !isDirect, sharesLAN: isDirect) { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], more: rules)
                let office = try await Office(deployment)
                if isDirect { try await DirectPathSite(deployment: deployment, office: office).connect() }
                try await body(deployment, office)
            }
        }

        /// The node at the office.
        struct Office {
            let deployment: Deployment
            let machine: Namespace
            let directory: String
            let agent: Child

            /// - Parameter machine: nil: the lab's office.
            init(
                _ deployment: Deployment, on machine: Namespace? = nil, _ tables: Tables = [:], more: String = "",
                invite options: [String] = []
            ) async throws {
                self.deployment = deployment
                self.machine = try #require(machine ?? deployment.lab.office)
                directory = "\(deployment.lab.directory)/office"
                agent = try await deployment.addNode(
                    "laptop", on: self.machine, directory: directory, tables, more: more, invite: options)
            }

            var socket: String { deployment.agentSocket(directory) }

            func natfwt(_ arguments: String...) async throws -> Output {
                try await machine.run([Natfwt.binary] + arguments + ["--socket", socket])
            }

            /// A command in the foreground, once its port is open.
            func start(_ arguments: String..., opening port: Int) async throws -> Child {
                let child = try machine.start([Natfwt.binary] + arguments + ["--socket", socket])
                try await agent.opens(port)
                return child
            }
        }

        private func serveWeb(_ deployment: Deployment, _ text: String) async throws {
            let lab = deployment.lab
            let page = "\(lab.directory)/www"
            try FileManager.default.createDirectory(atPath: page, withIntermediateDirectories: true)
            try text.write(toFile: "\(page)/index.html", atomically: true, encoding: .utf8)
            let server = try lab.home.start(
                [Tool.python, "-m", "http.server", "80", "--bind", "127.0.0.1", "--directory", page])
            try await server.opens(80)
        }

        @Test("a relay that stops does not wait for tunnels that carry nothing")
        func relayStops() async throws {
            try await site { deployment, office in
                let relay = try deployment.relay()
                #expect(try await office.natfwt("ping", "--count", "1", "home").code == 0)
                #expect(try await office.natfwt("nodes").text.contains("tunnel through the relay"))
                relay.signal(SIGTERM)
                #expect(try await relay.ended() == 0)
            }
        }

        @Test("curl through a forward and through the proxy, behind every kind of NAT", arguments: NATKind.allCases)
        func web(_ nat: NATKind) async throws {
            try await site(nat: nat) { deployment, office in
                try await serveWeb(deployment, "hello from home\n")
                _ = try await office.start("forward", "8000", "home:80", opening: 8000)
                _ = try await office.start("socks", "1080", opening: 1080)
                for arguments in [
                    ["http://127.0.0.1:8000/"], ["http://[::1]:8000/"],
                    ["--socks5-hostname", "127.0.0.1:1080", "http://home.natfwt.internal/"],
                    ["--socks5-hostname", "[::1]:1080", "http://home/"],
                    ["--socks4a", "127.0.0.1:1080", "http://home.natfwt.internal/"],
                    ["--proxytunnel", "--proxy", "http://127.0.0.1:1080", "http://home.natfwt.internal/"],
                ] {
                    let result = try await office.machine.run(["curl", "-sS", "--max-time", "10"] + arguments)
                    #expect(result.text == "hello from home", "\(arguments): \(result)")
                }
            }
        }

        @Test("a forward in the foreground waits for an agent that stops, and is back with it")
        func returningAgent() async throws {
            try await site { deployment, office in
                try await serveWeb(deployment, "hello again\n")
                let forward = try await office.start("forward", "8000", "home:80", opening: 8000)
                try await office.agent.stop()
                try await forward.says("the agent has stopped; waiting until it is back")
                let agent = try office.machine.start(
                    [Natfwt.binary, "agent", "--config", deployment.agentConfiguration(office.directory)], as: "again")
                try await agent.says("session active")
                try await agent.opens(8000)
                let page = try await office.machine.run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:8000/"])
                #expect(page.text == "hello again", "\(page)")
                forward.signal(SIGINT)
                #expect(try await forward.ended() == 0)
            }
        }

        @Test("each half ends by itself, and resets arrive as resets")
        func halves() async throws {
            try await site { deployment, office in
                _ = try await deployment.lab.home.serve(port: 7000, "drain; send 100000; fin")
                _ = try await office.start("forward", "7001", "home:7000", opening: 7001)
                let talk = try await office.machine.talk(to: "127.0.0.1", port: 7001, "send 5000000; fin; drain")
                #expect(talk.sent == 5_000_000 && talk.received == 100_000 && talk.end == "eof", "\(talk)")
            }
        }

        @Test("what is not served is refused, and nothing is served that no rule names", arguments: [false, true])
        func refused(isDirect: Bool) async throws {
            try await site(isDirect: isDirect) { deployment, office in
                try await serveWeb(deployment, "hello\n")
                _ = try await deployment.lab.home.serve(port: 8081, "send 10; fin")
                _ = try await office.start("socks", "1080", opening: 1080)
                let proxy = ["curl", "-sS", "--max-time", "10", "--socks5-hostname", "127.0.0.1:1080"]
                // Not served, nobody listens, no such node, not a node's name.
                for (address, code) in [
                    ("http://home:8081/", "(2)"), ("http://home:7000/", "(5)"), ("http://nobody:80/", "(4)"),
                ] {
                    let result = try await office.machine.run(proxy + [address])
                    #expect(result.code == 97 && "\(result)".contains(code), "\(address): \(result)")
                }
                // The other way round nothing is served at all.
                let back = try await deployment.lab.home.run([
                    Natfwt.binary, "ping", "laptop", "--count", "1", "--socket", deployment.agentSocket(),
                ])
                #expect(back.code == 0, "\(back)")
            }
        }

        @Test("a command serves as long as it runs", arguments: [false, true])
        func lease(isDirect: Bool) async throws {
            try await site(serving: "", isDirect: isDirect) { deployment, office in
                try await serveWeb(deployment, "hello\n")
                _ = try await office.start("forward", "8000", "home:80", opening: 8000)
                let curl = ["curl", "-sS", "--max-time", "5", "http://127.0.0.1:8000/"]
                #expect(try await office.machine.run(curl).code != 0)
                let serving = try deployment.lab.home.start([
                    Natfwt.binary, "serve", "tcp", "80", "--to", "laptop", "--socket", deployment.agentSocket(),
                ])
                try await until("the page is served") { try await office.machine.run(curl).text == "hello" }
                try await serving.stop()
                try await until("it is not any more") { try await office.machine.run(curl).code != 0 }
            }
        }

        /// What passes between nodes is nowhere in the relay's memory; what passes to an exposed port is.
        @Test("the relay can't read what it forwards")
        func sealed() async throws {
            try await site { deployment, office in
                let marker = "marker-\(UUID().uuidString)"
                try await serveWeb(deployment, String(repeating: marker + "\n", count: 20_000))
                _ = try await office.start("forward", "8000", "home:80", opening: 8000)
                let result = try await office.machine.run([
                    "sh", "-ec",
                    "curl -sS --max-time 20 --limit-rate 400k -o /dev/null http://127.0.0.1:8000/ & sleep 0.7; "
                        + "\(Tool.python) \(Lab.scripts)/memory.py \(try deployment.relay().pid) \(marker); "
                        + "\(Tool.python) \(Lab.scripts)/memory.py \(office.agent.pid) \(marker); wait",
                ])
                let counts = result.text.split(separator: "\n").compactMap { Int($0) }
                #expect(counts.count == 2 && counts[0] == 0, "in the relay: \(result)")
                #expect(counts.last ?? 0 > 0, "the search finds what is there, at the agent: \(result)")
            }
        }

        @Test("nodes and ping tell who is there")
        func questions() async throws {
            try await site { deployment, office in
                let list = try await office.natfwt("nodes")
                #expect(list.text.contains("home") && list.text.contains("this node"), "\(list)")
                let ping = try await office.natfwt("ping", "home", "--count", "2")
                #expect(ping.code == 0 && ping.text.contains("through the relay"), "\(ping)")
                #expect(try await office.natfwt("ping", "nobody", "--count", "1").code == 69)
                let after = try await office.natfwt("nodes", "--json")
                // Two seconds later they may have met there.
                #expect(after.text.contains(#/"path": ?"(relay|joined)"/#), "\(after)")
                try await deployment.agent().stop()
                try await until("home is away") {
                    try await office.natfwt("nodes").text.contains("not connected")
                }
            }
        }

        @Test("a node that is removed loses its tunnels within five seconds")
        func removed() async throws {
            try await site { deployment, office in
                _ = try await deployment.lab.home.serve(port: 7000, "echo")
                _ = try await office.start("forward", "7001", "home:7000", opening: 7001)
                let talk = try office.machine.start(
                    script: "talk", ["connect", "127.0.0.1", "7001", "send 10; drain"])
                try await until("the tunnel is there") {
                    try await office.natfwt("nodes").text.contains("tunnel")
                }
                try await deployment.lab.relay.check([
                    Natfwt.binary, "nodes", "remove", "laptop", "--config", deployment.relayConfiguration,
                ])
                try await until("the connection is reset", within: .seconds(5)) { !talk.isRunning }
            }
        }

        /// Whatever is killed comes back, and the forward, which nobody touched, leads there again.
        @Test(
            "kill -9 of the relay, of the other node's agent: the forward works again",
            arguments: [("relay", false), ("agent", false), ("agent", true)])
        func killed(_ victim: String, isDirect: Bool) async throws {
            try await site(isDirect: isDirect) { deployment, office in
                try await serveWeb(deployment, "hello\n")
                _ = try await office.start("forward", "8000", "home:80", opening: 8000)
                let curl = ["curl", "-sS", "--max-time", "5", "http://127.0.0.1:8000/"]
                #expect(try await office.machine.run(curl).text == "hello")
                if victim == "relay" {
                    await (try deployment.relay()).destroy()
                    #expect(try await office.machine.run(curl).code != 0)
                    try await deployment.startRelay()
                } else {
                    await (try deployment.agent()).destroy()
                    #expect(try await office.machine.run(curl).code != 0)
                    try deployment.startAgent()
                }
                try await until("the page is there again") { try await office.machine.run(curl).text == "hello" }
            }
        }

        @Test("datagrams through the proxy reach what is served by UDP", arguments: [false, true])
        func datagrams(isDirect: Bool) async throws {
            try await site(isDirect: isDirect) { deployment, office in
                try await deployment.lab.home.start(script: "udp", ["serve", "127.0.0.1", "53"]).says("ready")
                _ = try await office.start("socks", "1080", opening: 1080)
                let script = """
                    import socket, struct
                    control = socket.create_connection(("127.0.0.1", 1080), 5)
                    control.sendall(bytes([5, 1, 0])); assert control.recv(2) == bytes([5, 0])
                    control.sendall(bytes([5, 3, 0, 1, 0, 0, 0, 0, 0, 0])); reply = control.recv(22); assert reply[1] == 0, reply
                    port = struct.unpack("!H", reply[8:10])[0]
                    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end.settimeout(5)
                    name = b"home.natfwt.internal"
                    header = bytes([0, 0, 0, 3, len(name)]) + name + struct.pack("!H", 53)
                    for size in (1, 100, 1200):
                        end.sendto(header + b"x" * size, ("127.0.0.1", port))
                        answer = end.recv(3000); assert answer.endswith(b"x" * size), answer
                    print("echoed")
                    """
                let result = try await office.machine.run([Tool.python, "-c", script])
                #expect(result.text == "echoed", "\(result)")
            }
        }

        @Test("ssh and scp through a forward", .enabled(if: Tool.has("sshd", "ssh", "ssh-keygen"), "needs sshd"))
        func ssh() async throws {
            try await site { deployment, office in
                let folder = "\(deployment.lab.directory)/ssh"
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                try await deployment.lab.home.check([
                    "sh", "-ec",
                    "ssh-keygen -q -t ed25519 -N '' -f \(folder)/host; ssh-keygen -q -t ed25519 -N '' -f \(folder)/user; "
                        + "cp \(folder)/user.pub \(folder)/keys; mkdir -p /run/sshd",
                ])
                let server = try deployment.lab.home.start([
                    "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", "\(folder)/host", "-p", "22", "-o",
                    "AuthorizedKeysFile=\(folder)/keys", "-o", "StrictModes=no", "-o", "ListenAddress=127.0.0.1", "-o",
                    "PidFile=none", "-o", "Subsystem=sftp internal-sftp",
                ])
                try await server.opens(22)
                _ = try await office.start("forward", "2022", "home:22", opening: 2022)
                let options =
                    "-i \(folder)/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
                let result = try await office.machine.run([
                    "sh", "-ec",
                    "head -c 3000000 /dev/urandom > \(folder)/file; ssh -p 2022 \(options) root@127.0.0.1 cat "
                        + "< \(folder)/file | cmp - \(folder)/file; scp -q -P 2022 \(options) \(folder)/file "
                        + "root@127.0.0.1:\(folder)/copy; cmp \(folder)/file \(folder)/copy; echo same",
                ])
                #expect(result.text.hasSuffix("same"), "\(result)")
            }
        }
    }
}
