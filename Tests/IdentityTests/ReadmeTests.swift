// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Identity

/// What is shown to a person who begins is what the programs would print.
@Suite struct ReadmeTests {
    @Test func theInvite() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("    \(Invite.prefix)") })
        let invite = try Invite(line.trimmingCharacters(in: .whitespaces))
        #expect(invite.relays.map(\.description) == ["relay.example.com:443"] && invite.name.text == "home")
        #expect(text.contains("key=\(invite.relayID.description.prefix(15))…"))
    }
}
