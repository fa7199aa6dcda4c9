// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Settings

@Suite("An agent.toml that is joined to another relay") struct RejoiningTests {
    private func joined() throws -> AgentSettings {
        try AgentSettings.parse(
            """
            relay = ["new.example.com:443"]
            relay-key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            name = "attic"
            """, file: "new")
    }

    @Test func keepsTheRest() throws {
        let text = """
            # my notes
            admin-socket = "/run/mine.sock"
            relay = [   # two of them
                "old.example.com:443", # [not a bracket
                "old.example.com:80",
            ]
            relay-key = "SHA256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
            name = "home"
            key = "[node].key"

            [[expose]]
            protocol = "tcp"
            service = "127.0.0.1:22"
            port = 2222
            name = "ssh"
            """
        #expect(
            try joined().rejoining(text) == """
                # my notes
                admin-socket = "/run/mine.sock"
                relay = ["new.example.com:443"]
                relay-key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                name = "attic"
                key = "[node].key"

                [[expose]]
                protocol = "tcp"
                service = "127.0.0.1:22"
                port = 2222
                name = "ssh"

                """)
    }

    @Test(arguments: ["# nothing\n", "[log]\nlevel = \"debug\"\n", "admin-socket = \"/run/a.sock\"\n\n[[serve]]"])
    func comesFirstWhereNoneWasJoined(_ text: String) throws {
        let joined = try joined()
        let whole = joined.rejoining(text)
        #expect(whole.hasPrefix("relay = [\"new.example.com:443\"]\nrelay-key = "))
        #expect(whole.contains(text))
    }

    @Test func whatCanNotBeReadIsNotChanged() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "rejoining-\(UUID()).toml").path
        try "relay = [\nnonsense".write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let joined = try joined()
        #expect(throws: SettingsError.self) { try joined.rejoining(path: path) }
    }
}
