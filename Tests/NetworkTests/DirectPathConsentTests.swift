// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    /// The laptop has made the tunnel through the relay; then one of the two is not connected to the relay any more.
    @Suite("A direct path keeps the relay's consent while one of the two has left the relay")
    struct DirectPathConsentTests {
        /// What the operator says, and who is away by then.
        struct Word: CustomTestStringConvertible {
            let words: [String]
            let away: String
            var testDescription: String { "\(words.joined(separator: " ")), \(away) away" }

            init(_ words: String..., away: String) { (self.words, self.away) = (words, away) }
        }

        @Test(
            "it ends within five seconds",
            arguments: [
                Word("nodes", "remove", "home", away: "home"), Word("nodes", "remove", "laptop", away: "laptop"),
                Word("nodes", "allow", "laptop", "--no-reach", away: "laptop"),
                Word("nodes", "allow", "laptop", "--no-reach", away: "home"),
            ])
        func ends(_ word: Word) async throws {
            try await DirectPathSite.run { site in
                let talk = try await site.separate(word.away)
                let home = try site.deployment.agent()
                try await site.operate(word.words)
                try await until("the connection ends\(home.tail())", within: .seconds(5)) { !talk.isRunning }
                try await until("home has no direct connection", within: .seconds(5)) {
                    home.connections(onPort: DirectPathSite.port) == 0
                }
                #expect(try await !site.echoes())
            }
        }

        @Test(
            "it stays where the registry was changed for another reason",
            arguments: [
                Word("invite", "other", "--expose", "tcp:2000", away: "home"),
                Word("invite", "other", "--expose", "tcp:2000", away: "laptop"),
                // It is the laptop that has made the tunnel, and it may.
                Word("nodes", "allow", "home", "--no-reach", away: "home"),
                Word("nodes", "allow", "laptop", "--reach", "home", away: "laptop"),
            ])
        func stays(_ word: Word) async throws {
            try await DirectPathSite.run { site in
                let talk = try await site.separate(word.away)
                let present = try site.node(word.away == "home" ? "laptop" : "home")
                let (told, ended) = (present.notices, present.endedTunnels)
                try await site.operate(word.words)
                try await until("it is told\(present.agent.tail())") { present.notices > told }
                // By the time of this answer the relay has answered all that was asked before.
                #expect(try await present.sees(word.away) == "away")
                #expect(talk.isRunning)
                #expect(try await site.echoes())
                #expect(
                    present.endedTunnels == ended, "no tunnel is made to a node that is away\(present.agent.tail())")
            }
        }
    }
}

/// One of the two nodes of a ``DirectPathSite``.
private struct SiteNode {
    let agent: Child
    let machine: Namespace
    let directory: String
    let deployment: Deployment

    var notices: Int { lines("what the relay says of nodes may have changed") }
    var endedTunnels: Int { lines("session ended") }

    private func lines(_ text: String) -> Int { agent.log.split(separator: "\n").count { $0.contains(text) } }

    private struct Node: Decodable {
        let name: String
        let state: String
    }

    /// What the relay says of the other.
    func sees(_ name: String) async throws -> String? {
        let result = try await machine.run(
            [Natfwt.binary, "nodes", "--json", "--socket", deployment.agentSocket(directory)])
        guard result.code == 0 else { return nil }
        return try JSONDecoder().decode([Node].self, from: Data(result.output.utf8)).first { $0.name == name }?.state
    }
}

extension DirectPathSite {
    fileprivate func node(_ name: String) throws -> SiteNode {
        name == "home"
            ? SiteNode(
                agent: try deployment.agent(), machine: lab.home, directory: deployment.homeDirectory,
                deployment: deployment)
            : SiteNode(
                agent: office.agent, machine: office.machine, directory: office.directory, deployment: deployment)
    }

    /// The two have a direct path with a connection on it, and one of them is sent to a relay that is not there.
    fileprivate func separate(_ name: String) async throws -> Child {
        _ = try await forward()
        try await connect()
        let talk = try office.machine.start(script: "talk", ["connect", "127.0.0.1", "7001", "send 10; drain"])
        let home = try deployment.agent()
        try await until("the connection is there") { home.connections(onPort: 7000) > 0 }
        let (leaving, staying) = (try node(name), try node(name == "home" ? "laptop" : "home"))
        try deployment.writeAgentConfiguration(
            [], Self.quick, directory: leaving.directory, more: name == "home" ? Self.serve + Self.direct() : ""
        ) { $0.replacing("\(lab.relay.address):\(Deployment.tunnelPort)", with: "\(lab.relay.address):9") }
        leaving.agent.signal(SIGHUP)
        try await eventually("\(name) is away\(leaving.agent.tail())", within: patience) {
            try await staying.sees(name) == "away" ? true : nil
        }
        #expect(talk.isRunning)
        return talk
    }

    fileprivate func operate(_ words: [String]) async throws {
        try await lab.relay.check([Natfwt.binary] + words + ["--config", deployment.relayConfiguration])
    }
}
