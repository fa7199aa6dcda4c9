// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// Two agents without a relay, and a provider between them: what real programs see (obligation 23).
    @Suite("Carrying", .enabled(if: Tool.has("curl", "iperf3"))) struct CarryingTests {
        private struct Status: Decodable {
            var key: String
            var transportID: String
            enum CodingKeys: String, CodingKey {
                case key
                case transportID = "transport-id"
            }
        }

        private func status(_ site: Site) async throws -> Status {
            try JSONDecoder().decode(Status.self, from: Data(try await site.natfwt("status", "--json").utf8))
        }

        /// A laptop and home, whose port home serves to the laptop; the provider's program is started for both.
        private func pair(
            serving port: Int, _ start: (_ site: Site, _ peer: String, _ isHome: Bool) throws -> Child,
            _ body: (_ laptop: Site, _ home: String) async throws -> Void
        ) async throws {
            let laptop = try await Site("laptop", deadline: "60s")
            let key = try await status(laptop)
            let home = try await Site(
                "home", deadline: "60s",
                more: "[[serve]]\nprotocol = \"tcp\"\nports = [\(port)]\nto = [\"laptop\"]\n",
                known: "laptop \(key.key)\n")
            let id = try await status(home).transportID
            let programs = [try start(laptop, id, false), try start(home, key.transportID, true)]
            for site in [laptop, home] {
                try await until("the provider is active\(site.agent.tail())") {
                    try await site.natfwt("providers").contains("): active")
                }
            }
            try await body(laptop, id)
            for program in programs {
                program.signal(SIGTERM)
                let code = try await program.ended()
                #expect([0, 128 + SIGKILL, 128 + SIGTERM].contains(code), "\(program.log)")
            }
            await laptop.end()
            await home.end()
        }

        /// The example in C, on two ports of this host.
        private func udp() throws -> (_ site: Site, _ peer: String, _ isHome: Bool) throws -> Child {
            let ports = (laptop: try freePort(), home: try freePort())
            return { site, peer, isHome in
                let (own, other) = isHome ? (ports.home, ports.laptop) : (ports.laptop, ports.home)
                let peers = "\(site.folder)/peers"
                try "\(peer) 127.0.0.1 \(other)\n".write(toFile: peers, atomically: true, encoding: .utf8)
                return try site.start("udp-provider", "\(own)", peers)
            }
        }

        @Test func curlOverTheExampleInC() async throws {
            let port = try freePort()
            try await pair(serving: port, udp()) { laptop, home in try await Self.download(laptop, home, port) }
        }

        /// The real ssh and sshd, between the two.
        @Test(.enabled(if: Built.sshProvider != nil && SecureShell.isThere))
        func curlOverTheExampleInSwift() async throws {
            let program = try #require(Built.sshProvider)
            let folder = NSTemporaryDirectory() + "cpn-sshd-\(getpid())"
            let shell = try await SecureShell(folder: folder, at: "127.0.0.1", freePort()) {
                try Child("sshd", $0, directory: folder)
            }
            let port = try freePort()
            var remote = ""
            try await pair(
                serving: port,
                { site, _, isHome in
                    // Home's end is started by ssh, so that it stands in for both: the laptop's socket comes first.
                    guard isHome else {
                        remote = "\(site.folder)/providers.sock"
                        return try Child("true", [Tool.path("true")], directory: site.folder)
                    }
                    let there = "CPNATFWT_SOCKET=\(site.folder)/providers.sock \(program) -"
                    return try Child(
                        "ssh-provider", [program] + shell.command + [there], environment: ["CPNATFWT_SOCKET": remote],
                        directory: site.folder)
                },
                { laptop, home in try await Self.download(laptop, home, port) })
            await shell.end()
        }

        /// Obligation 29: what is handed over, both ways, stays until it is completed, and is not touched after.
        @Test func nothingIsTouchedAfterItsCompletion() async throws {
            let (built, port) = (try #require(Built.folder), try freePort())
            var (first, program): (Site?, Child?)
            try await pair(
                serving: port,
                { site, _, isHome in
                    guard isHome, let laptop = first else {
                        first = site
                        return try Child("true", [Tool.path("true")], directory: site.folder)
                    }
                    let sockets = [laptop, site].map { "\($0.folder)/providers.sock" }
                    let child = try Child("handover", ["\(built)/handover"] + sockets, directory: built)
                    program = child
                    return child
                },
                { laptop, home in try await Self.download(laptop, home, port) })
            let output = try #require(program?.output)
            let packets = try #require(output.firstMatch(of: /packets (\d+)/).flatMap { Int($0.1) }, "\(output)")
            #expect(packets > 3_000 && output.contains("changed 0\n"), "\(output)")
        }

        @Test func iperf3OverTheExampleInC() async throws {
            let (port, local) = (try freePort(), try freePort())
            try await pair(serving: port, udp()) { laptop, home in
                let server = try Child(
                    "iperf3", [Tool.path("iperf3"), "-s", "-1", "-p", "\(port)"], directory: laptop.folder)
                try await server.opens(port)
                let forward = try Self.forward(laptop, local, home, port)
                try await forward.says("listening on")
                let client = try Child(
                    "iperf3", [Tool.path("iperf3"), "-c", "127.0.0.1", "-p", "\(local)", "-n", "8M"],
                    directory: laptop.folder)
                #expect(try await client.ended() == 0, "\(client.log)\(laptop.agent.tail())")
                _ = try await server.ended()
                await forward.destroy()
            }
        }

        /// The provider is killed while a download goes on: the application sees an end, and no hang; with the next provider
        /// it works again.
        @Test func anApplicationSeesTheEndOfAProvider() async throws {
            let port = try freePort()
            try await pair(serving: port, udp()) { laptop, home in
                try await Self.download(laptop, home, port, kills: true)
            }
        }

        /// The provider's program outlives the agent, and carries both ways for the next one too.
        @Test func theExampleInCRegistersAnew() async throws {
            let port = try freePort()
            try await pair(serving: port, udp()) { laptop, home in
                try await Self.download(laptop, home, port)
                laptop.agent.signal(SIGKILL)
                _ = try await laptop.agent.ended()
                let next = try Child(
                    "agent", [Natfwt.binary, "agent", "--config", "\(laptop.folder)/agent.toml"],
                    directory: laptop.folder)
                try await until("the provider is active again\(next.tail())") {
                    try await laptop.natfwt("providers").contains("): active")
                }
                try await Self.download(laptop, home, port)
                await next.destroy()
            }
        }

        private static func forward(_ laptop: Site, _ port: Int, _ home: String, _ target: Int) throws -> Child {
            try Child(
                "forward",
                [Natfwt.binary, "forward", "\(port)", "[\(home)]:\(target)", "--socket", laptop.socket],
                directory: laptop.folder)
        }

        private static func download(_ laptop: Site, _ home: String, _ port: Int, kills: Bool = false) async throws {
            let size = kills ? 400 << 20 : 4 << 20
            let web = "\(laptop.folder)/web"
            try FileManager.default.createDirectory(atPath: web, withIntermediateDirectories: true)
            _ = FileManager.default.createFile(atPath: "\(web)/file", contents: nil)
            truncate("\(web)/file", size)
            let server = try Child(
                "web", [Tool.python, "-m", "http.server", "\(port)", "--bind", "127.0.0.1", "--directory", web],
                directory: laptop.folder)
            try await server.opens(port)
            let local = try freePort()
            let forward = try Self.forward(laptop, local, home, port)
            try await forward.says("listening on")
            let got = "\(laptop.folder)/got"
            let curl = try Child(
                "curl", [Tool.path("curl"), "-sS", "-m", "60", "-o", got, "http://127.0.0.1:\(local)/file"],
                directory: laptop.folder)
            if kills {
                let pid = try await eventually("some of it has come\(laptop.agent.tail())") { () -> Int32? in
                    let size = (try? FileManager.default.attributesOfItem(atPath: got)[.size] as? Int) ?? 0
                    guard size > 100_000 else { return nil }
                    let json = try await laptop.natfwt("providers", "--json")
                    return json.firstMatch(of: /"process":(\d+)/).flatMap { Int32($0.1) }
                }
                kill(pid, SIGSTOP)
                kill(pid, SIGKILL)
                #expect(try await curl.ended(within: .seconds(30)) != 0, "\(curl.log)")
            } else {
                #expect(try await curl.ended() == 0, "\(curl.log)\(laptop.agent.tail())")
                #expect((try? Data(contentsOf: URL(filePath: got)))?.count == size)
            }
            await forward.destroy()
            await server.destroy()
        }
    }
}
