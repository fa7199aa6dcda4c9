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
                more: "[[serve]]\nprotocol = \"tcp\"\nports = [\(ports)]\nto = [\"laptop\"]\n",
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

        private func udp(_ site: Site, _ peer: String, _ isHome: Bool) throws -> Child {
            let (own, other) = isHome ? (24_502, 24_501) : (24_501, 24_502)
            try "\(peer) 127.0.0.1 \(other)\n".write(toFile: "\(site.folder)/peers", atomically: true, encoding: .utf8)
            return try site.start("udp-provider", "\(own)", "\(site.folder)/peers")
        }

        @Test func curlOverTheExampleInC() async throws {
            try await pair(ports: "24599", udp) { laptop, home in try await Self.download(laptop, home) }
        }

        /// The real ssh and sshd, between the two.
        @Test(.enabled(if: Built.sshProvider != nil && SecureShell.isThere))
        func curlOverTheExampleInSwift() async throws {
            let program = try #require(Built.sshProvider)
            let shell = try await SecureShell()
            var remote = ""
            try await pair(
                ports: "24599",
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
                { laptop, home in try await Self.download(laptop, home) })
            await shell.end()
        }

        @Test func iperf3OverTheExampleInC() async throws {
            try await pair(ports: "24601", udp) { laptop, home in
                let server = try Child(
                    "iperf3", [Tool.path("iperf3"), "-s", "-1", "-p", "24601"], directory: laptop.folder)
                let forward = try Self.forward(laptop, 24_701, home, 24_601)
                try await forward.says("listening on")
                let client = try Child(
                    "iperf3", [Tool.path("iperf3"), "-c", "127.0.0.1", "-p", "24701", "-n", "8M"],
                    directory: laptop.folder)
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
                [Natfwt.binary, "forward", "\(port)", "[\(home)]:\(target)", "--socket", laptop.socket],
                directory: laptop.folder)
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

/// An sshd of the test's own, on loopback.
final class SecureShell: Sendable {
    let folder: String
    private let server: Child

    static var isThere: Bool { Tool.has("sshd", "ssh", "ssh-keygen") && getuid() == 0 }

    init() async throws {
        folder = NSTemporaryDirectory() + "cpn-sshd-\(getpid())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: "/run/sshd", withIntermediateDirectories: true)
        for key in ["host", "user"] {
            let made = try Child(
                "keygen", [Tool.path("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", "\(folder)/\(key)"],
                directory: folder)
            _ = try await made.ended()
        }
        let settings = """
            Port 24522
            ListenAddress 127.0.0.1
            HostKey \(folder)/host
            AuthorizedKeysFile \(folder)/user.pub
            StrictModes no
            PermitRootLogin yes
            PidFile none
            UsePAM no
            """
        try settings.write(toFile: "\(folder)/sshd_config", atomically: true, encoding: .utf8)
        server = try Child("sshd", [Tool.path("sshd"), "-D", "-e", "-f", "\(folder)/sshd_config"], directory: folder)
        try await until("sshd listens\(server.tail())") { [server] in server.hasPort(24_522) }
    }

    /// The client, up to the command that it is to run.
    var command: [String] {
        [
            Tool.path("ssh"), "-p", "24522", "-i", "\(folder)/user", "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1",
        ]
    }

    func end() async {
        await server.destroy()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
