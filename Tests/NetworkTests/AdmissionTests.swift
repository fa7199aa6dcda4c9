// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     agent (a key, an invite, a pinned relay key: one of them wrong) ═══ NAT ═══ relay (registry)
    ///
    /// Who is not admitted is told why, on both sides, in words that a person can act on; and nothing else happens.
    @Suite("Admission")
    struct AdmissionTests {
        static let exposure = Exposure(.tcp, "127.0.0.1:7000", port: 7000)

        /// Waits until the program logs one of the words, whatever their case.
        private func expect(
            _ child: Child, says words: [String], sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            do {
                try await until("\(child.name) says one of \(words)") {
                    let log = child.log.lowercased()
                    return words.contains { log.contains($0) }
                }
            } catch {
                Issue.record("\(child.name) never says one of \(words)\(child.tail())", sourceLocation: sourceLocation)
            }
        }

        /// Joins in a directory of its own, starts an agent there, and gives it.
        private func newcomer(
            _ deployment: Deployment, _ invite: String, _ name: String, edit: (String) -> String = { $0 }
        ) async throws -> Child {
            let directory = "\(deployment.lab.directory)/\(name)"
            if !FileManager.default.fileExists(atPath: "\(directory)/agent.toml") {
                let joined = try await deployment.join(invite, directory: directory)
                try #require(joined.code == 0, "\(joined)")
            }
            try deployment.writeAgentConfiguration([Self.exposure], directory: directory, edit: edit)
            return try deployment.startAgent(directory: directory)
        }

        private func withRelay(_ body: (Deployment) async throws -> Void) async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await deployment.startRelay()
                try await body(deployment)
                #expect(try deployment.relay().isRunning)
            }
        }

        private func withoutInvite(_ text: String) -> String {
            text.components(separatedBy: "\n").filter { !$0.hasPrefix("invite") }.joined(separator: "\n")
        }

        @Test("an unknown node")
        func unknown() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite()
                let agent = try await newcomer(deployment, invite.text, "stranger", edit: withoutInvite)
                try await expect(agent, says: ["not know"])
                try await expect(try deployment.relay(), says: ["not know"])
                #expect(try !deployment.relay().hasPort(7000))
            }
        }

        @Test("an invite that was used")
        func used() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite()
                let first = try await newcomer(deployment, invite.text, "first")
                try await deployment.opened([Self.exposure])
                try await first.stop()
                let second = try await newcomer(deployment, invite.text, "second")
                try await expect(second, says: ["used"])
                try await expect(try deployment.relay(), says: ["used"])
                #expect(try !deployment.relay().hasPort(7000))
            }
        }

        @Test("the node that used its invite comes back with it")
        func again() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite()
                for _ in 1...2 {
                    let agent = try await newcomer(deployment, invite.text, "same")
                    try await deployment.opened([Self.exposure])
                    try await agent.stop()
                }
            }
        }

        /// Makes the registry's invites older, as if they had been made and forgotten some time ago.
        private func age(_ state: String, bySeconds seconds: Int) async throws {
            let script = """
                import glob, sqlite3
                for path in glob.glob("\(state)/*.db") + glob.glob("\(state)/*.sqlite*"):
                    with sqlite3.connect(path) as registry:
                        registry.execute("UPDATE invites SET created = created - ?, expires = expires - ?", \
                (\(seconds), \(seconds)))
                        print("aged")
                """
            let child = try Child("age", [Tool.python, "-c", script], directory: state)
            try await child.ended()
            try #require(child.output.contains("aged"), "\(child.log)")
        }

        @Test("an invite that expired")
        func expired() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite("home", ["--expires", "1h"])
                try await age(deployment.relayState, bySeconds: 86_400)
                let agent = try await newcomer(deployment, invite.text, "late")
                try await expect(agent, says: ["expired"])
                try await expect(try deployment.relay(), says: ["expired"])
            }
        }

        @Test("an invite that the relay never made")
        func forged() async throws {
            try await Lab.run { lab in
                let deployment = try Deployment(lab)
                try await deployment.startRelay()
                let invite = try await deployment.invite()
                await (try deployment.relay()).destroy()
                // The same key, but a registry that never heard of the invite.
                for name in try FileManager.default.contentsOfDirectory(atPath: deployment.relayState)
                where !name.hasSuffix(".key") && !name.hasSuffix(".pem") {
                    try FileManager.default.removeItem(atPath: "\(deployment.relayState)/\(name)")
                }
                try await deployment.startRelay()
                let agent = try await newcomer(deployment, invite.text, "forger")
                try await expect(agent, says: ["invite"])
                #expect(try !deployment.relay().hasPort(7000))
            }
        }

        @Test("a relay with another key than the pinned one")
        func wrongRelay() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite()
                // The impostor: the relay's address, another state directory and so another key.
                await (try deployment.relay()).destroy()
                try FileManager.default.removeItem(atPath: deployment.relayState)
                try await deployment.startRelay()
                let agent = try await newcomer(deployment, invite.text, "careful")
                try await expect(agent, says: ["key"])
                #expect(try await deployment.reason(of: agent) == .providerOtherFailure)
                #expect(!agent.log.contains("session active"))
            }
        }

        @Test("an invite with a letter wrong is told as such by join")
        func mistyped() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite().text
                let middle = invite.index(invite.startIndex, offsetBy: invite.count / 2)
                var wrong = invite
                wrong.replaceSubrange(middle...middle, with: invite[middle] == "A" ? "B" : "A")
                for bad in [wrong, String(invite.dropLast(5)), "", "natfwt1.", "hello", invite + invite] {
                    let joined = try await deployment.join(bad)
                    #expect(joined.code != 0 && joined.code < 128, "\(bad): \(joined)")
                    #expect(joined.log.lowercased().contains("invite"), "\(joined)")
                }
            }
        }

        @Test("a node exposes only what its invite allows")
        func permissions() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite("home", ["--expose", "tcp:7000-7009"])
                _ = try await deployment.join(invite.text)
                let allowed = Exposure(.tcp, "127.0.0.1:1", port: 7005)
                try deployment.writeAgentConfiguration([
                    allowed, Exposure(.tcp, "127.0.0.1:1", port: 7010), Exposure(.udp, "127.0.0.1:1", port: 7005),
                ])
                let agent = try deployment.startAgent()
                try await deployment.opened([allowed])
                try await expect(agent, says: ["not allowed", "may not"])
                #expect(try !deployment.relay().hasPort(7010))
                #expect(try !deployment.relay().hasPort(7005, .udp))
            }
        }

        @Test("the registry survives kill -9 of the relay between any two steps")
        func durable() async throws {
            try await withRelay { deployment in
                let invite = try await deployment.invite()
                await (try deployment.relay()).destroy()
                try await deployment.startRelay()
                _ = try await newcomer(deployment, invite.text, "patient")
                try await deployment.opened([Self.exposure])
                await (try deployment.relay()).destroy()
                try await deployment.startRelay()
                try await deployment.opened([Self.exposure])
            }
        }

        @Test("removing a node ends its session within seconds")
        func revoked() async throws {
            try await Lab.deployed([Self.exposure]) { deployment in
                try await deployment.lab.relay.check([
                    Natfwt.binary, "nodes", "remove", "home", "--config", deployment.relayConfiguration,
                ])
                let relay = try deployment.relay()
                try await until("the port is closed\(relay.tail())") { !relay.hasPort(7000) }
            }
        }
    }
}

extension Output {
    /// Both outputs, for messages that may be on either.
    var log: String { output + errors }
}
