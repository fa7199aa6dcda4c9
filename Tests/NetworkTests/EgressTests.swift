// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     home: curl ─▶ forward, SOCKS ─▶ agent ══ NAT ══ relay ─▶ visitor.test:80
    ///
    /// Home goes out through the relay, as far as the relay and its registry let it.
    @Suite("Nodes go out through the relay")
    struct EgressTests {
        private static let egress: Tables = [
            "egress": ["allow": "true", "also": "[\"198.51.100.0/24\", \"2001:db8:51::/48\"]"]
        ]

        private func site(_ relay: Tables = egress, _ body: (Deployment) async throws -> Void) async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], relay: relay)
                let page = "\(lab.directory)/www"
                try FileManager.default.createDirectory(atPath: page, withIntermediateDirectories: true)
                try "hello from outside\n".write(toFile: "\(page)/index.html", atomically: true, encoding: .utf8)
                let server = try lab.visitor.start(
                    [Tool.python, "-m", "http.server", "80", "--bind", lab.visitor.address, "--directory", page])
                try await server.opens(80)
                _ = try await deployment.agent().says("session active")
                _ = try lab.home.start([Natfwt.binary, "socks", "1080", "--socket", deployment.agentSocket()])
                try await deployment.agent().opens(1080)
                try await body(deployment)
            }
        }

        private func allow(_ deployment: Deployment, _ option: String) async throws -> String {
            try await deployment.lab.relay.check([
                Natfwt.binary, "nodes", "allow", "home", option, "--config", deployment.relayConfiguration,
            ])
        }

        private func curl(_ deployment: Deployment, _ arguments: String...) async throws -> Output {
            try await deployment.lab.home.run(["curl", "-sS", "--max-time", "10"] + arguments)
        }

        /// Sends a datagram through the SOCKS proxy (RFC 1928, 7), and prints what comes back.
        private static let associate = """
            import socket, struct, sys
            control = socket.create_connection(("127.0.0.1", 1080))
            control.sendall(bytes([5, 1, 0]))
            assert control.recv(2) == bytes([5, 0])
            control.sendall(bytes([5, 3, 0, 1]) + bytes(6))
            answer = control.recv(64)
            assert answer[1] == 0 and answer[3] == 1, answer
            relay = (socket.inet_ntoa(answer[4:8]), struct.unpack("!H", answer[8:10])[0])
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.settimeout(5)
            place = socket.inet_aton(sys.argv[1]) + struct.pack("!H", int(sys.argv[2]))
            end.sendto(bytes([0, 0, 0, 1]) + place + b"hello over UDP", relay)
            print(end.recv(2048)[10:].decode())
            """

        private static let proxy = ["--socks5-hostname", "127.0.0.1:1080"]

        @Test("a node that the registry lets out reaches hosts by name and address, until it may no more")
        func permitted() async throws {
            try await site { deployment in
                let before = try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://visitor.test/")
                #expect(before.code == 97 && "\(before)".contains("(2)"), "\(before)")
                #expect(try await allow(deployment, "--egress").contains("go out through the relay"))
                try await until("the page is there") {
                    try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://visitor.test/").text
                        == "hello from outside"
                }
                _ = try deployment.lab.home.start([
                    Natfwt.binary, "forward", "8000", "visitor.test:80", "--socket", deployment.agentSocket(),
                ])
                try await deployment.agent().opens(8000)
                let address = deployment.lab.visitor.address
                for arguments in [
                    ["http://127.0.0.1:8000/"], Self.proxy + ["http://\(address)/"],
                    ["-4", "--socks5", "127.0.0.1:1080", "http://visitor.test/"],
                    ["--socks4a", "127.0.0.1:1080", "http://visitor.test/"],
                    ["--proxytunnel", "--proxy", "http://127.0.0.1:1080", "http://visitor.test/"],
                ] {
                    let result = try await deployment.lab.home.run(["curl", "-sS", "--max-time", "10"] + arguments)
                    #expect(result.text == "hello from outside", "\(arguments): \(result)")
                }
                let echo = try deployment.lab.visitor.start(script: "udp", ["serve", address, "5353"])
                _ = try await echo.says("ready")
                let datagram = try await deployment.lab.home.run([Tool.python, "-c", Self.associate, address, "5353"])
                #expect(datagram.text.hasSuffix("hello over UDP"), "\(datagram)")
                #expect(!(try await allow(deployment, "--no-egress")).contains("go out"))
                try await until("it is refused again", within: .seconds(5)) {
                    try await curl(deployment, "http://127.0.0.1:8000/").code != 0
                }
            }
        }

        /// Datagrams from a socket that names its peer each time, and from one that is connected.
        private static let datagrams = """
            import socket, sys
            place = (sys.argv[1], int(sys.argv[2]))
            one, other = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
            for end in (one, other): end.settimeout(5)
            one.sendto(b"one", place)
            answer, source = one.recvfrom(2048)
            assert answer.endswith(b"one") and source == place, (answer, source)
            other.connect(place)
            other.send(b"other")
            assert other.recv(2048).endswith(b"other") and other.getpeername() == place
            """

        @Test("a command's sockets go out through the relay", arguments: ["preload", "kernel"])
        func commands(_ way: String) async throws {
            let script = way == "kernel" ? "kernel-way" : "interposer"
            let root = URL(fileURLWithPath: #filePath).pathComponents.dropLast(3).joined(separator: "/").dropFirst()
            let folder = (Natfwt.binary as NSString).deletingLastPathComponent
            try await site { deployment in
                let home = deployment.lab.home
                let built = try await home.run(["\(root)/deploy/\(script)", folder])
                if built.code == 69 { try Test.cancel("\(built)") }
                #expect(built.code == 0, "\(built)")
                let address = deployment.lab.visitor.address
                let run = [
                    Natfwt.binary, "run", "--egress", "--way", way, "--socket", deployment.agentSocket(), "--",
                ]
                let page = run + ["curl", "-sS", "--max-time", "10", "http://\(address)/"]
                // There is a direct way, which it does not take.
                let before = try await home.run(page)
                #expect(before.code == 7, "\(before)")
                _ = try await allow(deployment, "--egress")
                try await until("the page is there") { try await home.run(page).text == "hello from outside" }
                let echo = try deployment.lab.visitor.start(script: "udp", ["serve", address, "5353"])
                _ = try await echo.says("ready")
                let found = try await home.run(run + [Tool.python, "-c", Self.datagrams, address, "5353"])
                #expect(found.code == 0, "\(found)")
            }
        }

        @Test("what is not public, and the relay itself, is refused with a word of why")
        func forbidden() async throws {
            try await site { deployment in
                _ = try await allow(deployment, "--egress")
                let relay = deployment.lab.relay.address
                try await until("hosts that are allowed are reached") {
                    try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://visitor.test/").code == 0
                }
                for (host, code) in [
                    ("relay.test:443", "(2)"), ("\(relay):443", "(2)"), ("127.0.0.1:443", "(2)"), ("127.1:443", "(2)"),
                    ("169.254.169.254", "(2)"), ("10.0.0.1", "(2)"), ("[::1]:443", "(2)"), ("visitor.test:25", "(2)"),
                    ("visitor.test:81", "(5)"),
                ] {
                    let result = try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://\(host)/")
                    #expect(result.code == 97 && "\(result)".contains(code), "\(host): \(result)")
                }
                let ask =
                    "import socket; s = socket.create_connection(('127.0.0.1', 1080)); "
                    + "s.sendall(b'CONNECT relay.test:443 HTTP/1.1\\r\\nHost: relay.test\\r\\n\\r\\n'); "
                    + "print(b''.join(iter(lambda: s.recv(4096), b'')).decode())"
                let answer = try await deployment.lab.home.run([Tool.python, "-c", ask])
                #expect(answer.text.contains("403") && answer.text.contains("ask its operator"), "\(answer)")
                #expect(try deployment.relay().log.contains("it is an address of the relay itself"))
            }
        }

        @Test("a name whose IPv6 leads nowhere is there by IPv4 a moment later")
        func deadFamily() async throws {
            try await site { deployment in
                let visitor = deployment.lab.visitor
                let rules =
                    "table ip6 dead { chain input { type filter hook input priority 0; tcp dport 80 counter drop; }; }"
                try await visitor.nft(rules)
                _ = try await allow(deployment, "--egress")
                try await until("the page is there") {
                    try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://\(visitor.address)/").code == 0
                }
                let page = try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://visitor.test/")
                // The lab's relay gives an address 10 seconds, and the kernel sends a SYN again after one.
                #expect(page.text == "hello from outside" && page.took < .seconds(3), "\(page)")
                let counted = try await visitor.check(["nft", "list", "table", "ip6", "dead"])
                #expect(
                    counted.contains("counter packets") && !counted.contains("packets 0 "), "IPv6 was tried: \(counted)"
                )
            }
        }

        @Test("SIGHUP turns it on and off; a prefix that can't be read changes nothing")
        func reloaded() async throws {
            try await site([:]) { deployment in
                _ = try await allow(deployment, "--egress")
                let relay = try deployment.relay()
                func reaches() async throws -> Bool {
                    try await curl(deployment, Self.proxy[0], Self.proxy[1], "http://visitor.test/").code == 0
                }
                #expect(try await !reaches())
                try deployment.writeRelayConfiguration(Self.egress)
                relay.signal(SIGHUP)
                try await until("it is let out") { try await reaches() }
                try deployment.writeRelayConfiguration(["egress": ["allow": "true", "also": "[\"198.51.100.1/24\"]"]])
                relay.signal(SIGHUP)
                _ = try await relay.says("egress.also")
                #expect(try await reaches())
                try deployment.writeRelayConfiguration()
                relay.signal(SIGHUP)
                try await until("it is not any more") { try await !reaches() }
            }
        }
    }
}
