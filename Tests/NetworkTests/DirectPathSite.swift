// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// Home and a laptop on one network, both nodes of a relay elsewhere:
///
///     laptop (192.168.19.20) ─── switch ─── home (192.168.19.10:7777)
///                                  │
///                                 NAT ═══ internet ═══ relay
struct DirectPathSite {
    typealias Office = NetworkTests.Programs.NodeToNodeTests.Office

    /// Home's port for direct connections.
    static let port = 7777
    static let serve = """

        [[serve]]
        protocol = "tcp"
        ports = [7000]
        to = ["laptop"]

        """
    static func direct(isEnabled: Bool = true) -> String {
        "[direct]\nenabled = \(isEnabled)\nport = \(port)\n"
    }
    /// A candidate that leads nowhere costs no more than this.
    static let quick: Tables = ["timeouts": ["handshake": "\"2s\""]]

    let deployment: Deployment
    let office: Office
    var lab: Lab { deployment.lab }

    /// - Parameters:
    ///   - isShared: whether the two are on one network; else each is behind a NAT of its own.
    ///   - prepare: what is done to the network before any program runs.
    static func run(
        isShared: Bool = true, options: [String] = [], prepare: (Lab) async throws -> Void = { _ in },
        _ body: (DirectPathSite) async throws -> Void
    ) async throws {
        try await Lab.run(neighbour: !isShared, sharesLAN: isShared) { lab in
            try await prepare(lab)
            let deployment = try Deployment(lab)
            try await deployment.start([], agent: quick, more: serve + direct(), invite: options)
            try await deployment.agent().says("session active")
            let office = try await Office(deployment, quick, invite: options)
            try await body(DirectPathSite(deployment: deployment, office: office))
        }
    }

    // MARK: Paths

    private struct Node: Decodable {
        let name: String
        let path: String?
    }

    /// What carries the laptop's tunnel to home: nil where there is none.
    func path() async throws -> String? {
        let result = try await office.natfwt("nodes", "--json")
        guard result.code == 0 else { return nil }
        return try JSONDecoder().decode([Node].self, from: Data(result.output.utf8)).first { $0.name == "home" }?.path
    }

    /// Makes the tunnel, and waits until it needs no relay.
    func connect() async throws {
        let ping = try await office.natfwt("ping", "home", "--count", "1")
        #expect(ping.code == 0, "\(ping)")
        try await becomes("direct")
    }

    func becomes(_ path: String, within deadline: Duration = .seconds(10)) async throws {
        try await until(
            "the path is \(path)\(office.agent.tail())", within: deadline,
            every: .milliseconds(100)
        ) { try await self.path() == path }
    }

    /// How many tunnels with home the laptop has had on a way.
    func tunnels(over way: String) -> Int {
        office.agent.log.split(separator: "\n").count {
            $0.contains("a tunnel to another node is there") && $0.contains(way)
        }
    }

    /// Whether a new connection through the laptop's forward reaches the echo at home.
    func echoes() async throws -> Bool {
        let result = try await office.machine.run(
            script: "talk", ["connect", "127.0.0.1", "7001", "send 100; fin; drain"])
        guard result.code == 0 else { return false }
        return try Talk.last(in: result.output).received == 100
    }

    /// The port 7001 at the office leads to home's service, which plays these steps.
    func forward(_ steps: String = "echo") async throws -> Child {
        let service = try await lab.home.serve(port: 7000, steps)
        _ = try await office.start("forward", "7001", "home:7000", opening: 7001)
        return service
    }

    /// So many short connections through the laptop's forward, 64 at a time, each of which is answered.
    func visits(_ count: Int) async throws {
        let result = try await office.machine.run(
            script: "crowd", ["visit", "127.0.0.1", "7001", "\(count)", "64", "64"], within: .seconds(60))
        #expect(result.output.contains("\"ok\": \(count), \"failed\": 0"), "\(result)")
    }

    /// Has the operator say something about a node, and waits for what is open through the laptop's forward to end.
    func says(_ word: [String]) async throws {
        let talk = try office.machine.start(script: "talk", ["connect", "127.0.0.1", "7001", "send 10; drain"])
        let home = try deployment.agent()
        try await until("the connection is there") { home.connections(onPort: 7000) > 0 }
        try await lab.relay.check([Natfwt.binary, "nodes"] + word + ["--config", deployment.relayConfiguration])
        try await until("the connection ends\(home.tail())", within: .seconds(5)) { !talk.isRunning }
    }

    // MARK: Faults

    /// Nothing passes between the two any more; each still reaches everything else.
    func cut() async throws { try await Self.cut(lab.home) }

    static func cut(_ home: Namespace) async throws {
        try await home.nft(
            """
            table inet cut {
              chain in { type filter hook input priority filter; policy accept;
                ip saddr 192.168.19.20 drop
                ip6 saddr 2001:db8:19::20 drop
              }
              chain out { type filter hook output priority filter; policy accept;
                ip daddr 192.168.19.20 drop
                ip6 daddr 2001:db8:19::20 drop
              }
            }

            """)
    }

    func heal() async throws { try await lab.home.nft("delete table inet cut\n") }

    /// Home's settings are read anew.
    func reloadHome(isEnabled: Bool) throws {
        try deployment.writeAgentConfiguration(
            [], Self.quick, more: Self.serve + Self.direct(isEnabled: isEnabled))
        try deployment.agent().signal(SIGHUP)
    }
}
