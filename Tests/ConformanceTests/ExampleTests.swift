// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    ///     office: curl, iperf3 ─▶ agent ─▶ provider ══ NAT ═══════ NAT ══ provider ─▶ agent ─▶ servers at home
    ///                              ╰────────── NAT ── relay ── NAT ─────────────────────╯
    ///
    /// The two examples between two homes behind real NATs. Both nodes have a relay too: what it forwards shows that the
    /// provider is what carries.
    @Suite("The examples behind NATs", .serialized, .enabled(if: Lab.isAvailable && Tool.has("curl", "iperf3")))
    struct ExampleTests {
        /// Over plain UDP, each side's port as its NAT shows it in the other's list.
        @Test("the example in C, both behind NATs that keep a port", arguments: [NATKind.linux, .portRestricted])
        func plainUDP(_ nat: NATKind) async throws {
            try await LabSite.run(nat) { site in
                let lab = site.deployment.lab
                // There is a tunnel through the relay already: what comes after the providers takes theirs.
                try await site.meet()
                try await site.startUDP(in: lab.home, site.homeSocket, peer: site.officeID, at: "100.64.1.2")
                try await site.startUDP(in: site.office, site.officeSocket, peer: site.homeID, at: Lab.wanAddress)
                try await site.carries()
            }
        }

        /// Over ssh: home's router forwards one port to sshd; for the rest the NATs are of the worst kind.
        @Test(
            "the example in Swift, one port of home's forwarded to sshd",
            .enabled(if: SecureShell.isThere && Built.sshProvider != nil))
        func secureShell() async throws {
            let program = try #require(Built.sshProvider)
            try await LabSite.run(.symmetric) { site in
                let lab = site.deployment.lab
                try await lab.router.nft(
                    """
                    table ip forwarded {
                      chain pre { type nat hook prerouting priority dstnat;
                        iifname "wan" tcp dport 2222 dnat to \(lab.home.address)
                      }
                    }
                    insert rule inet filter forward iifname "wan" tcp dport 2222 accept

                    """)
                let shell = try await SecureShell(
                    folder: "\(lab.directory)/sshd", at: lab.home.address, 2222, reached: Lab.wanAddress
                ) { try lab.home.start($0) }
                try site.office.start(
                    [program] + shell.command + ["CPNATFWT_SOCKET=\(site.homeSocket) \(program) -"],
                    environment: ["CPNATFWT_SOCKET": site.officeSocket])
                try await site.carries()
            }
        }
    }
}

/// Home, which serves a web server and iperf3 to the laptop at the office.
private struct LabSite {
    let deployment: Deployment
    let office: Namespace
    let homeID: String
    let officeID: String
    var homeSocket: String { "\(deployment.homeDirectory)/providers.sock" }
    var officeSocket: String { "\(deployment.lab.directory)/office/providers.sock" }
    private var officeAgent: String { deployment.agentSocket("\(deployment.lab.directory)/office") }

    /// Bytes of the file that curl fetches. iperf3 sends three times that, and ends before all of it has come.
    private static let size = 8 << 20

    static func run(_ nat: NATKind, _ body: (LabSite) async throws -> Void) async throws {
        try await Lab.run(nat: nat, neighbour: true) { lab in
            let deployment = try Deployment(lab)
            let rule = "\n[[serve]]\nprotocol = \"tcp\"\nports = [80, 5201]\nto = [\"laptop\"]\n"
            try await deployment.start([], more: rule)
            let office = try #require(lab.office)
            _ = try await deployment.addNode("laptop", on: office, directory: "\(lab.directory)/office")
            func id(_ machine: Namespace, _ socket: String) async throws -> String {
                let status = try await deployment.status(socket: socket, in: machine)
                return String(try #require(status.firstMatch(of: /"transport-id": ?"([0-9a-f:]+)"/)).1)
            }
            let site = LabSite(
                deployment: deployment, office: office,
                homeID: try await id(lab.home, deployment.agentSocket()),
                officeID: try await id(office, deployment.agentSocket("\(lab.directory)/office")))
            try await site.startServers()
            try await body(site)
        }
    }

    private func startServers() async throws {
        let (home, web) = (deployment.lab.home, "\(deployment.lab.directory)/web")
        try FileManager.default.createDirectory(atPath: web, withIntermediateDirectories: true)
        try await home.check(["sh", "-ec", "head -c \(Self.size) /dev/urandom > \(web)/file"])
        let server = try home.start(
            [Tool.python, "-m", "http.server", "80", "--bind", "127.0.0.1", "--directory", web])
        try await server.opens(80)
        try await home.start(["iperf3", "-s", "-B", "127.0.0.1"]).opens(5201)
    }

    func startUDP(in machine: Namespace, _ socket: String, peer: String, at address: String) async throws {
        let peers = "\(deployment.lab.directory)/peers-of-\(machine.name)"
        try "\(peer) \(address) 4500\n".write(toFile: peers, atomically: true, encoding: .utf8)
        try machine.start(
            ["\(try #require(Built.folder))/udp-provider", "4500", peers], environment: ["CPNATFWT_SOCKET": socket])
    }

    /// Has the two make a tunnel through the relay.
    func meet() async throws {
        try await office.check([Natfwt.binary, "ping", "home", "--count", "1", "--socket", officeAgent])
        #expect(try await path() == "relay")
    }

    /// What carries new connections from the office to home; nil where there is no tunnel.
    private func path() async throws -> String? {
        struct Node: Decodable { var name: String, path: String? }
        let json = try await office.check([Natfwt.binary, "nodes", "--json", "--socket", officeAgent])
        return try JSONDecoder().decode([Node].self, from: Data(json.utf8)).first { $0.name == "home" }?.path
    }

    private func providers(_ machine: Namespace, _ socket: String) async throws -> String {
        try await machine.check([Natfwt.binary, "providers", "--json", "--socket", socket])
    }

    /// Bytes that the office's provider has received and sent.
    private func carried() async throws -> (received: Int, sent: Int) {
        let json = try await providers(office, officeAgent)
        func field(_ name: String) throws -> Int {
            let match = try #require(json.firstMatch(of: try Regex("\"\(name)\": ?(\\d+)")), "\(json)")
            return try #require(match[1].substring.flatMap { Int($0) })
        }
        return (try field("bytes-received"), try field("bytes-sent"))
    }

    /// Bytes that have come to the relay's interface.
    private func relayed() async throws -> Int {
        let text = try await deployment.lab.relay.check(["cat", "/sys/class/net/eth0/statistics/rx_bytes"])
        return try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    /// A download by curl over `forward`, iperf3 under `run`: right, over the provider, and not through the relay.
    func carries() async throws {
        for (machine, socket) in [(deployment.lab.home, deployment.agentSocket()), (office, officeAgent)] {
            try await until("the provider is active") {
                try await providers(machine, socket).contains(#""state":"active""#)
            }
        }
        try await until("the way to home is not the relay's") { try await path() != "relay" }
        let before = try await relayed()
        try await downloads()
        let downloaded = try await carried()
        #expect(downloaded.received > Self.size)
        try await measures()
        let all = try await carried()
        #expect(all.sent > downloaded.sent + Self.size)
        #expect(try await relayed() - before < Self.size / 10)
    }

    private func downloads() async throws {
        let forward = try office.start([Natfwt.binary, "forward", "8000", "home:80", "--socket", officeAgent])
        try await forward.says("listening on")
        let directory = deployment.lab.directory
        let result = try await office.run([
            "sh", "-ec",
            "curl -sS -m 15 -o \(directory)/got http://127.0.0.1:8000/file; cmp \(directory)/got \(directory)/web/file",
        ])
        #expect(result.code == 0, "\(result)")
    }

    private func measures() async throws {
        let folder = URL(fileURLWithPath: Natfwt.binary).deletingLastPathComponent().path
        try await office.check(["\(Built.repository)/deploy/interposer", folder])
        let result = try await office.run([
            Natfwt.binary, "run", "--way", "preload", "--socket", officeAgent, "--", "iperf3", "-c",
            "home.natfwt.internal", "-n", "\(3 * Self.size)",
        ])
        #expect(result.code == 0 && result.output.contains("receiver"), "\(result)")
    }
}
