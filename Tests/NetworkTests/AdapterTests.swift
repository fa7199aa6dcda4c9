// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     office: any program ─▶ natfwt0 ─▶ agent ══ NAT ══ relay ══ NAT ══ agent ─▶ natfwt0 ─▶ what home serves
    ///
    /// A network interface on each of two nodes, and what programs that know nothing of it see.
    @Suite("The adapter carries packets", .enabled(if: FileManager.default.fileExists(atPath: "/dev/net/tun")))
    struct AdapterTests {
        private static let serve = """

            [[serve]]
            protocol = "tcp"
            ports = [80, 22, 5201]
            to = ["laptop"]

            [[serve]]
            protocol = "udp"
            ports = [53, 5201]
            to = ["laptop"]
            """
        private static let back = serve.replacingOccurrences(of: "laptop", with: "home")

        /// One node with its adapter.
        struct Side {
            let machine: Namespace
            let socket: String
            let adapter: Child
            /// Its transport ID.
            let id: String

            init(_ machine: Namespace, _ socket: String) async throws {
                self.machine = machine
                self.socket = socket
                adapter = try machine.start([Natfwt.binary, "adapter", "--socket", socket], as: "adapter")
                let line = try await adapter.says("is up")
                id = try #require(line.split { $0 == " " || $0 == ";" }.first { $0.hasPrefix("2001:2") }).description
            }

            /// The nodes, and over which path they are reached.
            func nodes() async throws -> String {
                try await machine.check([Natfwt.binary, "nodes", "--socket", socket])
            }

            /// Whether so many pings are all answered.
            func reaches(_ other: Side, count: Int = 1) async throws -> Bool {
                let ping = ["ping", "-6", "-c", "\(count)", "-i", "0.05", "-W", "2", other.id]
                return try await machine.run(ping).code == 0
            }

            /// What status tells of the adapter.
            func counter(_ name: String) async throws -> Int {
                let status = try await machine.check([Natfwt.binary, "status", "--json", "--socket", socket])
                let json = try JSONSerialization.jsonObject(with: Data(status.utf8)) as? [String: Any]
                let adapter = json?["adapter"] as? [String: Any]
                let dropped = adapter?["dropped"] as? [String: Any]
                return (adapter?[name] ?? dropped?[name]) as? Int ?? -1
            }
        }

        /// Home and the office, each with an adapter.
        private func site(
            serving rules: String = serve, nat: NATKind = .linux, sharesLAN: Bool = false,
            _ body: (Deployment, _ office: Side, _ home: Side) async throws -> Void
        ) async throws {
            try await Lab.run(nat: nat, neighbour: !sharesLAN, sharesLAN: sharesLAN) { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], more: rules)
                try await deployment.agent().says("session active")
                let machine = try #require(lab.office)
                let directory = "\(lab.directory)/office"
                _ = try await deployment.addNode("laptop", on: machine, directory: directory, more: Self.back)
                let office = try await Side(machine, deployment.agentSocket(directory))
                let home = try await Side(lab.home, deployment.agentSocket())
                try await body(deployment, office, home)
            }
        }

        private func serveWeb(_ lab: Lab, on machine: Namespace, port: Int = 80) async throws {
            let page = "\(lab.directory)/www"
            try FileManager.default.createDirectory(atPath: page, withIntermediateDirectories: true)
            try "hello over packets\n".write(toFile: "\(page)/index.html", atomically: true, encoding: .utf8)
            let server = try machine.start(
                [Tool.python, "-m", "http.server", "\(port)", "--bind", "::", "--directory", page])
            try await server.opens(port)
        }

        private func curl(_ id: String, port: Int = 80) -> [String] {
            ["curl", "-sS", "--max-time", "5", "http://[\(id)]:\(port)/"]
        }

        @Test("ping and curl in both directions, behind every kind of NAT", arguments: NATKind.allCases)
        func web(_ nat: NATKind) async throws {
            try await site(nat: nat) { deployment, office, home in
                for (here, there) in [(office, home), (home, office)] {
                    let ping = try await here.machine.run(["ping", "-6", "-c", "2", "-i", "0.2", "-W", "5", there.id])
                    #expect(ping.code == 0, "\(ping)")
                    try await serveWeb(deployment.lab, on: there.machine)
                    let page = try await here.machine.run(curl(there.id))
                    #expect(page.text == "hello over packets", "\(page)")
                }
            }
        }

        @Test("packets take a direct path once there is one, and the relay's when it is cut")
        func direct() async throws {
            try await site(sharesLAN: true) { deployment, office, home in
                try await until("home answers") { try await office.reaches(home) }
                try await until("the path is direct") { try await office.nodes().contains("through a direct path") }
                let relay = try deployment.relay()
                try await until("forty packets do not pass the relay", within: .seconds(20)) {
                    let before = relay.networkBytes
                    guard try await office.reaches(home, count: 40) else { return false }
                    return relay.networkBytes - before < 4_000
                }
                try await serveWeb(deployment.lab, on: home.machine)
                let page = try await office.machine.run(curl(home.id))
                #expect(page.text.contains("hello"), "\(page)")
                try await DirectPathSite.cut(home.machine)
                try await until("home answers through the relay", within: .seconds(30)) {
                    try await office.reaches(home)
                }
                #expect(try await office.nodes().contains("through the relay"))
            }
        }

        @Test("iperf3 over TCP and UDP, both ways", .enabled(if: Tool.has("iperf3"), "needs iperf3"))
        func bulk() async throws {
            try await site { deployment, office, home in
                let server = try home.machine.start(["iperf3", "-s"])
                try await server.opens(5201)
                for options in [["-n", "100M"], ["-n", "100M", "-R"], ["-u", "-b", "50M", "-l", "1200", "-t", "1"]] {
                    let result = try await office.machine.run(
                        ["iperf3", "-6", "-c", home.id, "-J"] + options, within: .seconds(60))
                    #expect(result.code == 0, "\(options): \(result)")
                }
                // Large packets pass whole: else there would be one for each 1,220 bytes.
                let (packets, bytes) = (
                    try await office.counter("packets-sent"), try await office.counter("bytes-sent")
                )
                #expect(bytes > 100_000_000 && bytes / packets > 1_500, "\(bytes) bytes in \(packets) packets")
                #expect(try await home.counter("refused-by-kernel") == 0)
                #expect(try await home.counter("malformed") == 0)
            }
        }

        @Test("what is not served does not pass, by TCP, UDP or ping; a command serves as long as it runs")
        func refused() async throws {
            try await site(serving: "") { deployment, office, home in
                try await serveWeb(deployment.lab, on: home.machine)
                try await home.machine.start(script: "udp", ["serve", "::", "53"]).says("ready")
                let denied = try await office.machine.run(curl(home.id))
                #expect(denied.code == 7 && denied.took < .seconds(3), "told at once: \(denied)")
                #expect(try await office.machine.run(["ping", "-6", "-c", "1", "-W", "2", home.id]).code != 0)
                let ask = [
                    Tool.python, "-c",
                    "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(2); "
                        + "s.sendto(b'x', ('\(home.id)', 53)); print(s.recv(100))",
                ]
                #expect(try await office.machine.run(ask).code != 0)
                #expect(try await home.counter("not-served") >= 3)
                #expect(try await home.counter("packets-received") == 0)
                let serving = try home.machine.start([
                    Natfwt.binary, "serve", "tcp", "80", "--to", "laptop", "--socket", home.socket,
                ])
                try await until("the page is served") {
                    try await office.machine.run(curl(home.id)).text == "hello over packets"
                }
                #expect(try await office.machine.run(ask).code != 0)
                try await serving.stop()
                try await until("it is not any more") { try await office.machine.run(curl(home.id)).code != 0 }
            }
        }

        @Test("a packet leaves with this node's own transport ID, or not at all")
        func source() async throws {
            try await site { deployment, office, home in
                try await until("packets pass") {
                    try await office.machine.run(["ping", "-6", "-c", "1", "-W", "5", home.id]).code == 0
                }
                let before = try await office.counter("forged-source")
                try await office.machine.check(["ip", "addr", "add", "2001:21::bad/128", "dev", "natfwt0"])
                let forged = ["ping", "-6", "-c", "2", "-i", "0.2", "-W", "1", "-I", "2001:21::bad", home.id]
                let pinged = try await office.machine.run(forged)
                #expect(pinged.code != 0)
                let dropped = try await office.counter("forged-source") - before
                #expect(dropped == 2, "\(pinged)")
                #expect(try await home.counter("forged-source") == 0)
            }
        }

        @Test("a node that is not there, or has no adapter, is told of at once")
        func unreachable() async throws {
            try await site { deployment, office, home in
                try await home.adapter.stop()
                for id in [home.id, "2001:21::1"] {
                    let result = try await office.machine.run(curl(id))
                    #expect(result.code == 7 && result.took < .seconds(3), "\(id): \(result)")
                }
                #expect(try await office.counter("unreachable") >= 2)
            }
        }

        @Test("the host is left as it was, however the adapter ends", arguments: ["INT", "KILL", "agent"])
        func clean(_ end: String) async throws {
            try await site { deployment, office, home in
                #expect(try await office.machine.run(["ping", "-6", "-c", "1", "-W", "5", home.id]).code == 0)
                switch end {
                case "INT":
                    home.adapter.signal(SIGINT)
                    #expect(try await home.adapter.ended() == 0)
                case "KILL": home.adapter.signal(SIGKILL)
                default: try deployment.agent().signal(SIGKILL)
                }
                try await until("the interface and its route are gone") {
                    let links = try await home.machine.check(["ip", "link"])
                    let routes = try await home.machine.check(["ip", "-6", "route"])
                    return !links.contains("natfwt0") && !routes.contains("2001:20::")
                }
                if end == "agent" {
                    #expect(try await home.adapter.ended() == 69)
                    try await deployment.startAgent().says("session active")
                }
                let again = try await Side(home.machine, home.socket)
                #expect(again.id == home.id)
                try await until("packets pass again") {
                    try await office.machine.run(["ping", "-6", "-c", "1", "-W", "1", home.id]).code == 0
                }
            }
        }

        @Test("names of nodes are found by the host's own resolver, and nothing is left behind")
        func names() async throws {
            try await site { deployment, office, home in
                let file = "/etc/netns/\(office.machine.name)/resolv.conf"
                func configuration() throws -> String { try String(contentsOfFile: file, encoding: .utf8) }
                let before = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
                #expect(try configuration().hasSuffix(before) && configuration().contains("2001:20::53"))
                // One that is refused takes nothing away from the one that runs.
                let refused = try await office.machine.run([Natfwt.binary, "adapter", "--socket", office.socket])
                #expect(refused.code == 69 && refused.errors.contains("there is an adapter already"), "\(refused)")
                #expect(try configuration().hasSuffix(before) && configuration().contains("2001:20::53"))
                let found = try await office.machine.run(["getent", "ahostsv6", "home.natfwt.internal"])
                #expect(found.text.hasPrefix(home.id), "\(found)")
                try await serveWeb(deployment.lab, on: home.machine)
                let page = try await office.machine.run([
                    "curl", "-sS", "--max-time", "5", "http://home.natfwt.internal/",
                ])
                #expect(page.text == "hello over packets", "\(page)")
                #expect(try await office.machine.run(["getent", "ahostsv6", "nobody.natfwt.internal"]).code == 2)
                try await office.adapter.stop()
                #expect(try configuration() == before)
                // Killed, it can't: the next one does.
                let second = try await Side(office.machine, office.socket)
                await second.adapter.destroy()
                #expect(try configuration() != before)
                let third = try await Side(office.machine, office.socket)
                try await third.adapter.stop()
                #expect(try configuration() == before)
            }
        }

        @Test("[adapter] in the settings, and its end with a reload; there is one at a time")
        func settings() async throws {
            try await Lab.run(neighbour: false) { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], more: "\n[adapter]\nname = \"nodes\"\n")
                try await deployment.agent().says("the adapter is up")
                let addresses = try await lab.home.check(["ip", "-6", "addr", "show", "nodes"])
                let hasSettings = ["mtu 1280", "qlen 2000", "/28"].allSatisfy { addresses.contains($0) }
                #expect(hasSettings, "\(addresses)")
                let second = try await lab.home.run([
                    Natfwt.binary, "adapter", "--socket", deployment.agentSocket(),
                ])
                #expect(second.code == 69 && second.errors.contains("already"), "\(second)")
                try deployment.writeAgentConfiguration([])
                try deployment.agent().signal(SIGHUP)
                try await until("the interface is gone") {
                    try await lab.home.run(["ip", "link", "show", "nodes"]).code != 0
                }
            }
        }

        @Test(
            "ssh and scp over the adapter, both ways",
            .enabled(if: Tool.has("sshd", "ssh", "ssh-keygen"), "needs sshd"))
        func ssh() async throws {
            try await site { deployment, office, home in
                for (here, there, name) in [(office, home, "there"), (home, office, "back")] {
                    let folder = "\(deployment.lab.directory)/ssh-\(name)"
                    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                    try await there.machine.check([
                        "sh", "-ec",
                        "ssh-keygen -q -t ed25519 -N '' -f \(folder)/host; ssh-keygen -q -t ed25519 -N '' -f "
                            + "\(folder)/user; cp \(folder)/user.pub \(folder)/keys; mkdir -p /run/sshd",
                    ])
                    let server = try there.machine.start([
                        "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", "\(folder)/host", "-p", "22", "-o",
                        "AuthorizedKeysFile=\(folder)/keys", "-o", "StrictModes=no", "-o", "ListenAddress=::", "-o",
                        "PidFile=none", "-o", "Subsystem=sftp internal-sftp",
                    ])
                    try await server.opens(22)
                    let options =
                        "-i \(folder)/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
                    let result = try await here.machine.run([
                        "sh", "-ec",
                        "head -c 3000000 /dev/urandom > \(folder)/file; ssh \(options) root@\(there.id) cat "
                            + "< \(folder)/file | cmp - \(folder)/file; scp -q \(options) \(folder)/file "
                            + "'root@[\(there.id)]:\(folder)/copy'; cmp \(folder)/file \(folder)/copy; echo same",
                    ])
                    #expect(result.text.hasSuffix("same"), "\(result)")
                }
            }
        }
    }
}
