// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    ///     visitor: any program ─▶ natfwt-p0 ─▶ agent ─▶ udp-provider ══ UDP ══ udp-provider ─▶ agent ─▶ natfwt-p0 ─▶ service: relay
    ///
    /// The interfaces of providers, on two machines without a relay.
    @Suite(
        "Interfaces of providers",
        .enabled(
            if: Lab.isAvailable && FileManager.default.fileExists(atPath: "/dev/net/tun"),
            "needs root, network namespaces and /dev/net/tun"))
    struct InterfaceTests {
        private static let serve = """
            [[serve]]
            protocol = "tcp"
            ports = [7000, 5201]
            to = ["laptop"]
            [[serve]]
            protocol = "udp"
            ports = [7001, 5201]
            to = ["laptop"]
            """

        /// A laptop that knows nobody, and home, which knows the laptop and serves to it; each with its provider.
        private func pair(
            _ body: (_ laptop: InterfaceMachine, _ home: InterfaceMachine) async throws -> Void
        ) async throws {
            try await Lab.run { lab in
                let laptop = try await InterfaceMachine(lab.visitor, "\(lab.directory)/laptop")
                let home = try await InterfaceMachine(
                    lab.relay, "\(lab.directory)/home", more: Self.serve, known: "laptop \(laptop.key)\n")
                try await laptop.startProvider(to: home)
                try await home.startProvider(to: laptop)
                try await body(laptop, home)
            }
        }

        @Test func packetsPassAsTheyAre() async throws {
            try await pair { laptop, home in
                let link = try await laptop.machine.check(["ip", "-6", "-d", "addr", "show", "natfwt-p0"])
                #expect(link.contains("alias UDP") && link.contains("mtu 1280"), "\(link)")
                #expect(link.contains("\(laptop.id)/128"), "\(link)")
                let ping = try await laptop.machine.run(["ping", "-6", "-c", "3", "-i", "0.2", "-W", "5", home.id])
                #expect(ping.code == 0 && ping.output.contains(" 0% packet loss"), "\(ping)")
                let route = try await laptop.machine.check(["ip", "-6", "route", "get", home.id])
                #expect(route.contains("dev natfwt-p0") && route.contains("metric 64"), "\(route)")
                try await serveWeb(home)
                let page = try await laptop.machine.run(curl(home.id, 7_000))
                #expect(page.text == "hello over a provider", "\(page)")
                try await home.machine.start(script: "udp", ["serve", "::", "7001"]).says("ready")
                #expect(try await laptop.machine.run(ask(home.id, 7_001)).code == 0)
                let told = try await laptop.natfwt("providers")
                #expect(told.contains("\"UDP\" as natfwt-p0"), "\(told)")
                #expect(try await laptop.device("packets-sent") > 8)
                #expect(try await home.device("packets-received") > 8)
                #expect(try await home.device("refused-by-kernel") == 0)
            }
        }

        @Test("iperf3 over TCP and UDP, both ways", .enabled(if: Tool.has("iperf3"), "needs iperf3"))
        func bulk() async throws {
            try await pair { laptop, home in
                let server = try home.machine.start(["iperf3", "-s"])
                try await server.opens(5_201)
                for options in [["-n", "50M"], ["-n", "50M", "-R"], ["-u", "-b", "20M", "-l", "1200", "-t", "1"]] {
                    let result = try await laptop.machine.run(
                        ["iperf3", "-6", "-c", home.id] + options)
                    #expect(result.code == 0, "\(options): \(result)")
                }
                #expect(try await home.device("refused-by-kernel") == 0)
                #expect(try await home.device("malformed") == 0)
            }
        }

        @Test func whatIsNotServedDoesNotPass() async throws {
            try await pair { laptop, home in
                try await serveWeb(home, port: 7_002)
                let denied = try await laptop.machine.run(curl(home.id, 7_002))
                #expect(denied.code == 7 && denied.took < .seconds(3), "told at once: \(denied)")
                try await home.machine.start(script: "udp", ["serve", "::", "7003"]).says("ready")
                #expect(try await laptop.machine.run(ask(home.id, 7_003)).code != 0)
                #expect(try await home.device("not-served") >= 2)
                // Nobody serves anything on the laptop, to anybody.
                #expect(try await home.machine.run(["ping", "-6", "-c", "1", "-W", "2", laptop.id]).code != 0)
                #expect(try await laptop.device("not-served") >= 1)
            }
        }

        /// A provider that hands over packets which say to be somebody else's, and one who is not in its list.
        @Test func aForgedSourceIsDropped() async throws {
            try await pair { laptop, home in
                let service = try home.machine.start([
                    Tool.python, "-uc",
                    "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 7001)); "
                        + "print('ready')\nwhile True: print(*s.recvfrom(100)[:2])",
                ])
                try await service.says("ready")
                await laptop.provider?.destroy()
                let forge = try laptop.machine.start([
                    Tool.python, "-c", Self.forger, laptop.id, home.id, home.machine.address,
                ])
                try await service.says("b'true'")
                #expect(!service.output.contains("b'forged'"), "\(service.output)")
                #expect(try await home.device("forged-source") >= 1)
                #expect(try await home.device("destination") >= 1)
                await forge.destroy()
            }
        }

        /// Sends three datagrams as the laptop's provider would: from another source, to another destination, and a right one.
        private static let forger = """
            import socket, struct, sys
            n = lambda text: socket.inet_pton(socket.AF_INET6, text)
            laptop, home, other = n(sys.argv[1]), n(sys.argv[2]), n('2001:20::1')
            def udp(source, target, text):
                body = struct.pack('!HHHH', 4444, 7001, 8 + len(text), 0) + text
                data = source + target + struct.pack('!II', len(body), 17) + body + b'\\0' * (len(text) % 2)
                total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
                while total > 0xffff: total = (total & 0xffff) + (total >> 16)
                body = body[:6] + struct.pack('!H', ~total & 0xffff) + body[8:]
                return struct.pack('!IHBB', 6 << 28, len(body), 17, 64) + source + target + body
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(('', 4500))
            for packet in [udp(other, home, b'forged'), udp(laptop, other, b'forged'), udp(laptop, home, b'true')]:
                s.sendto(laptop + home + packet, (sys.argv[3], 4500))
            """

        /// The device stays, and is nobody's, while there is no session; who comes back with its LUID has it again.
        @Test func theDeviceOutlivesTheSession() async throws {
            try await pair { laptop, home in
                let index = try await laptop.index()
                #expect(try await laptop.machine.run(["ping", "-6", "-c", "1", "-W", "5", home.id]).code == 0)
                let provider = try #require(laptop.provider)
                provider.signal(SIGSTOP)
                _ = try await laptop.machine.run(["ping", "-6", "-c", "1", "-W", "1", home.id])
                try await until("the session has ended") {
                    try await laptop.natfwt("providers").hasPrefix("no provider is registered")
                }
                #expect(try await laptop.index() == index)
                try await until("no route leads there") {
                    try await !laptop.machine.check(["ip", "-6", "route"]).contains("\(home.id) ")
                }
                let refused = try await laptop.machine.run(curl(home.id, 7_000))
                #expect(refused.code == 7 && refused.took < .seconds(3), "\(refused)")
                provider.signal(SIGCONT)
                try await laptop.isActive()
                #expect(try await laptop.index() == index)
                let before = try await home.device("packets-received")
                try await until("it carries again") {
                    _ = try await laptop.machine.run(["ping", "-6", "-c", "1", "-W", "1", home.id])
                    return try await home.device("packets-received") > before
                }
            }
        }

        /// Somebody removes the device: it is made anew.
        @Test func aRemovedDeviceComesBack() async throws {
            try await pair { laptop, home in
                let index = try await laptop.index()
                try await laptop.machine.check(["ip", "link", "del", "natfwt-p0"])
                try await until("there is another") {
                    try await laptop.machine.run(["ip", "link", "show", "natfwt-p0"]).code == 0
                }
                #expect(try await laptop.index() != index)
                #expect(try await laptop.machine.run(["ping", "-6", "-c", "1", "-W", "5", home.id]).code == 0)
            }
        }

        /// Of devices that nobody has some are kept, and no more.
        @Test func fewAreKept() async throws {
            try await Lab.run { lab in
                let laptop = try await InterfaceMachine(lab.visitor, "\(lab.directory)/laptop")
                let mirror = "\(try #require(Built.folder))/mirror"
                for _ in 0..<24 {
                    let child = try laptop.machine.start(
                        [mirror, "leave"], environment: ["CPNATFWT_SOCKET": "\(laptop.folder)/providers.sock"])
                    #expect(try await child.ended() == 0, "\(child.log)\(laptop.agent.tail())")
                }
                let links = try await laptop.machine.check(["ip", "-o", "link"])
                #expect(links.split(separator: "\n").count { $0.contains("natfwt-p") } == 16, "\(links)")
            }
        }

        /// Obligations 18 and 28: two peers with one ID are not reached.
        @Test func anAmbiguousPeerIsNotReached() async throws {
            try await Lab.run { lab in
                let laptop = try await InterfaceMachine(lab.visitor, "\(lab.directory)/laptop")
                let home = try await InterfaceMachine(lab.relay, "\(lab.directory)/home", more: Self.serve)
                try await laptop.startProvider(to: home, times: 2)
                let refused = try await laptop.machine.run(curl(home.id, 7_000))
                #expect(refused.code == 7 && refused.took < .seconds(3), "\(refused)")
                #expect(try await laptop.device("packets-sent") >= 1)
                #expect(try await laptop.device("unreachable") >= 1)
                #expect(try await !laptop.machine.check(["ip", "-6", "route"]).contains("\(home.id) "))
            }
        }

        /// Home has no such interfaces: the laptop's programs are told.
        @Test func whoHasNoneSaysSo() async throws {
            try await Lab.run { lab in
                let laptop = try await InterfaceMachine(lab.visitor, "\(lab.directory)/laptop")
                let home = try await InterfaceMachine(
                    lab.relay, "\(lab.directory)/home", more: Self.serve, interfaces: false)
                try await laptop.startProvider(to: home)
                try await home.startProvider(to: laptop)
                let refused = try await laptop.machine.run(curl(home.id, 7_000))
                #expect(refused.code == 7 && refused.took < .seconds(3), "\(refused)")
                #expect(try await home.machine.run(["ip", "link", "show", "natfwt-p0"]).code != 0)
            }
        }

        @Test("nothing is left of an agent that ends", arguments: [SIGTERM, SIGKILL])
        func nothingIsLeft(_ signal: Int32) async throws {
            try await pair { laptop, home in
                #expect(try await laptop.machine.run(["ping", "-6", "-c", "1", "-W", "5", home.id]).code == 0)
                laptop.agent.signal(signal)
                _ = try await laptop.agent.ended()
                #expect(try await laptop.machine.run(["ip", "link", "show", "natfwt-p0"]).code != 0)
                #expect(try await !laptop.machine.check(["ip", "-6", "route"]).contains("2001:2"))
            }
        }

        private func serveWeb(_ home: InterfaceMachine, port: Int = 7_000) async throws {
            let web = "\(home.folder)/web"
            try FileManager.default.createDirectory(atPath: web, withIntermediateDirectories: true)
            try "hello over a provider\n".write(toFile: "\(web)/index.html", atomically: true, encoding: .utf8)
            let server = try home.machine.start(
                [Tool.python, "-m", "http.server", "\(port)", "--bind", "::", "--directory", web])
            try await server.opens(port)
        }

        private func curl(_ id: String, _ port: Int) -> [String] {
            ["curl", "-sS", "--max-time", "5", "http://[\(id)]:\(port)/"]
        }

        private func ask(_ id: String, _ port: Int) -> [String] {
            [
                Tool.python, "-c",
                "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(2); "
                    + "s.sendto(b'x', ('\(id)', \(port))); print(s.recv(100))",
            ]
        }
    }
}
