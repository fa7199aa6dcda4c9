// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Settings

@Suite struct RenderingTests {
    static var full: AgentSettings {
        var settings = AgentSettings()
        settings.relay = [
            HostAndPort(host: "relay.example.com", port: 443), HostAndPort(host: "2001:db8::1", port: 8443),
        ]
        settings.relayKey = AgentSettingsTests.fingerprint
        settings.key = "/etc/natfwt/a \"quoted\" \\ é.key"
        settings.name = "home"
        settings.invite = "natfwt1.abc"
        settings.adminSocket = "/tmp/a.sock"
        settings.expose = [
            Exposure(
                transport: .tcp, service: HostAndPort(host: "::1", port: 22), port: 22, proxyProtocol: true, name: "a"),
            Exposure(transport: .udp, service: HostAndPort(host: "localhost", port: 53)),
        ]
        settings.log.level = .debug
        return settings
    }

    @Test func renderedTextReadsBack() throws {
        #expect(try AgentSettings.parse(Self.full.render(), file: "agent.toml") == Self.full)
    }

    @Test func textAfterJoinReadsBack() throws {
        var settings = Self.full
        settings.expose = []
        settings.invite = nil
        #expect(try AgentSettings.parse(settings.render(), file: "agent.toml") == settings)
    }

    /// The commented example, taken as it stands, is right.
    @Test func exampleIsRight() throws {
        var settings = Self.full
        settings.expose = []
        let text = settings.render().replacing("# [[expose]]", with: "[[expose]]").split(separator: "\n")
            .map { line in
                ["protocol", "service", "port", "proxy-protocol", "name"].contains { line.hasPrefix("# \($0) =") }
                    ? String(line.dropFirst(2)) : String(line)
            }
        #expect(try AgentSettings.parse(text.joined(separator: "\n"), file: "a").expose.map(\.port) == [2222])
    }

    @Test(arguments: ["", "a\"b", "a\\b", "a\nb\t\u{1}\u{7F}", "é\u{1F600}", "'''", "#"])
    func quotedTextReadsBack(text: String) throws {
        guard case .table(let entries) = try TOMLDocument.parse("a = " + TOMLText.quoted(text), file: "a").value,
            case .string(let read) = entries["a"]?.value
        else {
            Issue.record("no string")
            return
        }
        #expect(read == text)
    }
}
