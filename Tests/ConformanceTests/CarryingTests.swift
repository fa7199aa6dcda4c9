// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// Two agents without a relay, and a provider between them: what real programs see.
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

        /// A laptop and home, whose ports home serves to the laptop; the provider's program is started for both.
        private func pair(
            ports: String, _ start: (_ site: Site, _ peer: String, _ isHome: Bool) throws -> Child,
            _ body: (_ laptop: Site, _ home: String) async throws -> Void
        ) async throws {
            let laptop = try await Site("laptop", deadline: "5s")
            let key = try await status(laptop)
            let home = try await Site(
                "home", deadline: "5s",
                more: "[[serve]]\nprotocol = \"tcp\"\nports = [\(ports)]\nto = [\"laptop\"]\n", known: "laptop \(key.key)\n")
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
                #expect(code == 0 || code == 128 + SIGKILL, "\(program.log)")
            }
            await laptop.end()
            await home.end()
        }

        private func udp(_ site: Site, _ peer: String, _ isHome: Bool) throws -> Child {
            let (own, other) = isHome ? (24_502, 24_501) : (24_501, 24_502)
            try "\(peer) 127.0.0.1 \(other)\n".write(toFile: "\(site.folder)/peers", atomically: true, encoding: .utf8)
            return try site.start("udp-provider", "\(own)", "\(site.folder)/peers")
        }

        @Test func curlOverTheExampleInC() async throws {
            try await pair(ports: "24599", udp) { laptop, home in try await Self.download(laptop, home) }
        }

        @Test func iperf3OverTheExampleInC() async throws {
            try await pair(ports: "24601", udp) { laptop, home in
                let server = try Child(
                    "iperf3", [Tool.path("iperf3"), "-s", "-1", "-p", "24601"], directory: laptop.folder)
                let forward = try Self.forward(laptop, 24_701, home, 24_601)
                try await forward.says("listening on")
                let client = try Child(
                    "iperf3", [Tool.path("iperf3"), "-c", "127.0.0.1", "-p", "24701", "-n", "8M"], directory: laptop.folder)
                #expect(try await client.ended(within: .seconds(30)) == 0, "\(client.log)\(laptop.agent.tail())")
                _ = try await server.ended()
                await forward.destroy()
            }
        }

        /// The provider is killed while a download goes on: the application sees an end, and no hang; with the next provider
        /// it works again.
        @Test func anApplicationSeesTheEndOfAProvider() async throws {
            try await pair(ports: "24599", udp) { laptop, home in
                try await Self.download(laptop, home, kills: true)
            }
        }

        private static func forward(_ laptop: Site, _ port: Int, _ home: String, _ target: Int) throws -> Child {
            try Child(
                "forward",
                [Natfwt.binary, "forward", "\(port)", "[\(home)]:\(target)", "--socket", laptop.socket], directory: laptop.folder)
        }

        private static func download(_ laptop: Site, _ home: String, kills: Bool = false) async throws {
            let size = kills ? 400 << 20 : 4 << 20
            let web = "\(laptop.folder)/web"
            try FileManager.default.createDirectory(atPath: web, withIntermediateDirectories: true)
            _ = FileManager.default.createFile(atPath: "\(web)/file", contents: nil)
            truncate("\(web)/file", size)
            let server = try Child(
                "web", [Tool.python, "-m", "http.server", "24599", "--bind", "127.0.0.1", "--directory", web],
                directory: laptop.folder)
            try await until("the web server listens") { server.hasPort(24_599) }
            let forward = try Self.forward(laptop, 24_699, home, 24_599)
            try await forward.says("listening on")
            let got = "\(laptop.folder)/got"
            let curl = try Child(
                "curl", [Tool.path("curl"), "-sS", "-m", "60", "-o", got, "http://127.0.0.1:24699/file"],
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
                #expect(try await curl.ended(within: .seconds(60)) == 0, "\(curl.log)\(laptop.agent.tail())")
                #expect((try? Data(contentsOf: URL(filePath: got)))?.count == size)
            }
            await forward.destroy()
            await server.destroy()
        }
    }
}
