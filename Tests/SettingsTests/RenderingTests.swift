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
        settings.invite = AgentSettingsTests.invite
        settings.adminSocket = "/tmp/a.sock"
        settings.expose = [
            Exposure(
                transport: .tcp, service: HostAndPort(host: "::1", port: 22), port: 22, proxyProtocol: true, name: "a"),
            Exposure(transport: .udp, service: HostAndPort(host: "localhost", port: 53)),
        ]
        settings.serve = [
            Serve(transport: .tcp, ports: [22...22, 8000...8010], to: ["laptop", "*"]),
            Serve(transport: .udp, ports: [1...65_535], to: [AgentSettingsTests.fingerprint], host: "::1"),
        ]
        settings.forward = ["15432 home:5432", "*:1 [2001:21::1]:2", "[::1]:3,10.0.0.1:4 home.example.org:5"].compactMap
        {
            let words = $0.split(separator: " ")
            return try? Forward(listen: String(words[0]), target: String(words[1]))
        }
        settings.socks = SOCKSListener(
            listen: ListenText.parse("1080") ?? [],
            credentials: SOCKSCredentials(user: "a\"b", password: "c:d e\\"))
        settings.adapter = AdapterSettings(name: "nodes.0")
        settings.nameSuffix = "nodes.example.org"
        settings.knownNodes = "/var/lib/known"
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
        settings.serve = []
        settings.forward = []
        settings.socks = nil
        #expect(try AgentSettings.parse(settings.render(), file: "agent.toml") == settings)
    }

    /// The commented examples, taken as they stand, are right.
    @Test func examplesAreRight() throws {
        var settings = Self.full
        settings.expose = []
        settings.serve = []
        let text = settings.render().split(separator: "\n").map { line in
            line.hasPrefix("# [[") || line.contains(#/^# [a-z-]+ = /#) ? String(line.dropFirst(2)) : String(line)
        }
        let read = try AgentSettings.parse(text.joined(separator: "\n"), file: "a")
        #expect(read.expose.map(\.port) == [2222])
        #expect(read.serve == [Serve(transport: .tcp, ports: [22...22, 8000...8010], to: ["laptop"])])
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
