// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// What an sddl says holds for the sockets of this host's users: root's, and those of one without an account.
    @Suite(
        "Users and the sddl",
        .enabled(
            if: Lab.isAvailable && Tool.has("setpriv", "curl")
                && FileManager.default.fileExists(atPath: "/dev/net/tun"),
            "needs root, network namespaces, /dev/net/tun and setpriv"))
    struct AdmittedUserTests {
        private static let user = 54_321
        private static let serve = """
            [[serve]]
            protocol = "tcp"
            ports = [7000]
            to = ["laptop"]
            [[serve]]
            protocol = "udp"
            ports = [7001]
            to = ["laptop"]
            """

        /// Whether the library of `natfwt run` lies beside the program.
        private static let hasLibrary = Built.run(
            "\(Built.repository)/deploy/interposer", (Natfwt.binary as NSString).deletingLastPathComponent)

        /// A laptop whose provider registers with that sddl, and home with two services.
        private func pair(
            sddl: String?, _ body: (_ laptop: InterfaceMachine, _ home: InterfaceMachine) async throws -> Void
        ) async throws {
            try #require(Self.hasLibrary)
            try await Lab.run { lab in
                let laptop = try await InterfaceMachine(lab.visitor, "\(lab.directory)/laptop")
                let home = try await InterfaceMachine(
                    lab.relay, "\(lab.directory)/home", more: Self.serve, known: "laptop \(laptop.key)\n")
                try await laptop.startProvider(to: home, sddl: sddl)
                try await home.startProvider(to: laptop)
                // The other user may ask the agent.
                chmod("\(laptop.folder)/agent.sock", 0o666)
                for (port, script) in [(7_000, Self.tcp), (7_001, Self.udp)] {
                    try await home.machine.start([Tool.python, "-uc", script, "\(port)"]).says("ready")
                }
                try await body(laptop, home)
            }
        }

        private static let tcp =
            "import socket, sys; s = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)\n"
            + "print('ready')\nwhile True:\n c = s.accept()[0]; c.sendall(b'hello'); c.close()"
        private static let udp =
            "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
            + "s.bind(('::', int(sys.argv[1]))); print('ready')\nwhile True: d, a = s.recvfrom(99); s.sendto(d, a)"

        /// Says `hello`, or what went wrong.
        private static let client =
            "import errno, socket, sys\ntry:\n"
            + " if sys.argv[3] == 'tcp': s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)\n"
            + " else:\n  i = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), 0, socket.SOCK_DGRAM)[0]\n"
            + "  s = socket.socket(*i[:3]); s.settimeout(2); s.connect(i[4]); s.send(b'hello')\n"
            + " print(s.recv(99).decode() or 'closed')\nexcept OSError as e: print(errno.errorcode.get(e.errno, e))"

        private func ask(_ host: String, _ port: Int, _ kind: String = "tcp") -> [String] {
            [Tool.python, "-c", Self.client, host, "\(port)", kind]
        }

        private func asUser(_ command: [String]) -> [String] {
            ["setpriv", "--reuid", "\(Self.user)", "--regid", "\(Self.user)", "--clear-groups"] + command
        }

        private func run(_ laptop: InterfaceMachine, _ command: [String]) -> [String] {
            [Natfwt.binary, "run", "--way", "preload", "--socket", "\(laptop.folder)/agent.sock", "--"] + command
        }

        /// What it prints, or all that is known of its end.
        private func says(_ machine: Namespace, _ command: [String]) async throws -> String {
            let result = try await machine.run(command)
            return result.text.isEmpty ? "\(result)" : result.text
        }

        @Test(
            "a run and the interface carry the sockets of those whom the sddl admits",
            arguments: [(nil, true, false), ("54321", false, true), ("*", true, true), ("%54321", false, false)])
        func sockets(_ sddl: String?, rootMay: Bool, userMay: Bool) async throws {
            try await pair(sddl: sddl) { laptop, home in
                for (command, kind) in [
                    (ask(home.id, 7_000), "tcp"), (ask(home.id, 7_001, "udp"), "udp"),
                    (run(laptop, ask(home.id, 7_000)), "tcp"), (run(laptop, ask(home.id, 7_001, "udp")), "udp"),
                ] {
                    for (command, may) in [(command, rootMay), (asUser(command), userMay)] {
                        let said = try await says(laptop.machine, command)
                        // A run's datagrams that lead nowhere are lost, as anywhere.
                        let isDenied = said == "EACCES" || kind == "udp" && said == "timed out"
                        #expect(
                            may ? said == "hello" : isDenied, "\(said): \(kind) \(command[0])\(laptop.agent.tail())")
                    }
                }
                let denied = try await laptop.device("not-permitted")
                #expect(denied >= 2 || rootMay && userMay)
            }
        }

        /// Who may not use the provider goes through the relay, where there is one; both at the same time.
        @Test func whoIsNotAdmittedTakesTheNextWay() async throws {
            try #require(Self.hasLibrary)
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([])
                let (here, there) = ("\(lab.directory)/laptop", "\(lab.directory)/desk")
                let laptop = try await InterfaceMachine(
                    lab.visitor, here,
                    running: try await deployment.addNode("laptop", on: lab.visitor, directory: here))
                let desk = try await InterfaceMachine(
                    lab.relay, there,
                    running: try await deployment.addNode("desk", on: lab.relay, directory: there, more: Self.serve))
                try await laptop.startProvider(to: desk)
                try await desk.startProvider(to: laptop)
                chmod("\(here)/agent.sock", 0o666)
                try await desk.machine.start([Tool.python, "-uc", Self.tcp, "7000"]).says("ready")
                let ask = run(laptop, ask("desk.natfwt.internal", 7_000))
                for command in [ask, asUser(ask), ask] {
                    #expect(try await says(laptop.machine, command) == "hello", "\(laptop.agent.tail())")
                }
                let ping = try await laptop.natfwt("ping", "desk", "-c", "1")
                #expect(ping.contains("through root/udp-provider"), "\(ping)")
                let made = laptop.agent.log.split(separator: "\n").filter { $0.contains("a tunnel to another node") }
                // What is not the provider's may go on directly, once there is a path.
                let ways = made.compactMap { $0.split(separator: "over=").last.map(String.init) }
                #expect(ways.starts(with: ["root/udp-provider", "\"the relay\""]), "\(made)")
                #expect(ways.dropFirst(2).allSatisfy { $0 == "\"a direct path\"" }, "\(made)")
            }
        }

        /// A way in is his who has asked for it, whoever connects there.
        @Test func waysInAreTheirsWhoHaveAskedForThem() async throws {
            try await pair(sddl: nil) { laptop, home in
                let socket = ["--socket", "\(laptop.folder)/agent.sock"]
                let forward = [Natfwt.binary, "forward"]
                let socks = [Natfwt.binary, "socks"]
                let target = "[\(home.id)]:7000"
                try await laptop.machine.start(forward + ["7100", target] + socket).says("listening on")
                try await laptop.machine.start(asUser(forward + ["7101", target] + socket)).says("listening on")
                try await laptop.machine.start(asUser(socks + ["7102"] + socket)).says("listening on")
                let passed = try await says(laptop.machine, asUser(ask("127.0.0.1", 7_100)))
                #expect(passed == "hello", "\(laptop.agent.tail())\(home.agent.tail())")
                let denied = try await says(laptop.machine, ask("127.0.0.1", 7_101))
                #expect(denied == "ECONNRESET" || denied == "closed", "\(denied)")
                let curl = try await laptop.machine.run([
                    "curl", "-sSv", "--max-time", "5", "--socks5-hostname", "127.0.0.1:7102", "http://\(target)/",
                ])
                #expect(curl.code == 97 && curl.errors.contains("(2)"), "\(curl)\(laptop.agent.tail())")
                #expect(laptop.agent.log.contains("may not be used"))
            }
        }
    }
}
