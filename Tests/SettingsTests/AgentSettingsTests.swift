// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Settings

@Suite struct AgentSettingsTests {
    /// Of a relay.example:443, for the name home; whole, and good for nothing.
    static let invite =
        "natfwt1.-6srS_M7JEMTtLmfJS_VUAnUJfXXV1KiTskUbtGJ0z-NLMpxAvX56ahakG_-5dz6BGhvbWUBDXJlbGF5LmV4YW1wbGUBu4h_GjI"
    static let fingerprint = "SHA256:" + String(repeating: "A", count: 43)
    static let head = "relay = [\"relay.example.com\"]\nrelay-key = \"\(fingerprint)\"\n"

    @Test func everyKeyIsRead() throws {
        let settings = try AgentSettings.parse(
            Self.head + """
                key = "home.key"
                name = "home"
                admin-socket = "agent.sock"
                [[expose]]
                protocol = "tcp"
                service = "127.0.0.1:22"
                port = 2222
                proxy-protocol = "v2"
                name = "ssh"
                [[expose]]
                protocol = "udp"
                service = "[::1]:53"
                [limits]
                streams = 7
                [timeouts]
                backoff-initial = "1s"
                half-closed = "off"
                """, file: "/etc/natfwt/agent.toml")
        #expect(settings.relay == [HostAndPort(host: "relay.example.com", port: 443)])
        #expect(settings.relayKey == Self.fingerprint)
        #expect(settings.key == "/etc/natfwt/home.key")
        #expect(settings.adminSocket == "/etc/natfwt/agent.sock")
        #expect(settings.name == "home")
        let ssh = Exposure(
            transport: .tcp, service: HostAndPort(host: "127.0.0.1", port: 22), port: 2222, proxyProtocol: true,
            name: "ssh")
        let dns = Exposure(transport: .udp, service: HostAndPort(host: "::1", port: 53))
        #expect(settings.expose == [ssh, dns])
        #expect(settings.limits.streams == 7)
        #expect(settings.timeouts.backoffInitial == .seconds(1))
        #expect(settings.timeouts.halfClosed == nil)
    }

    @Test func rangeGivesOneExposureAPort() throws {
        let text =
            Self.head
            + "[[expose]]\nprotocol = \"tcp\"\nservice = \"[::1]:3000-3002\"\nport = \"20000-20002\"\nname = \"app\""
        let exposures = try AgentSettings.parse(text, file: "a").expose
        #expect(exposures.map(\.port) == [20000, 20001, 20002])
        #expect(exposures.map(\.service.description) == ["[::1]:3000", "[::1]:3001", "[::1]:3002"])
        #expect(exposures.map(\.name) == ["app-3000", "app-3001", "app-3002"])
    }

    @Test func inviteStandsInForTheRelay() throws {
        let settings = try AgentSettings.parse("invite = \"\(Self.invite)\"", file: "a")
        #expect(settings.relay.isEmpty && settings.relayKey == nil && settings.invite == Self.invite)
        let error = #expect(throws: SettingsError.self) { try AgentSettings.parse("", file: "a") }
        #expect(error?.problems.map(\.message).contains { $0.hasPrefix("relay-key: is missing") } == true)
        #expect(error?.problems.count == 2)
    }

    /// What follows the head's two lines, and what is said about it.
    static let wrong: [(text: String, message: String)] = [
        ("[[expose]]\nservice = \"a:1\"", "a:3: expose[1].protocol: is missing"),
        ("[[expose]]\nprotocol = \"tcp\"", "a:3: expose[1].service: is missing"),
        (
            "[[expose]]\nprotocol = \"sctp\"\nservice = \"a:1\"",
            #"a:4: expose[1].protocol: expected "tcp" or "udp", found "sctp""#
        ),
        (
            exposing("port = 65536"),
            #"a:6: expose[1].port: expected a port from 1 to 65535, 0 for one that the relay chooses, or a range such as "20000-20010", found 65536"#
        ),
        (
            exposing("port = -1"),
            #"a:6: expose[1].port: expected a port from 1 to 65535, 0 for one that the relay chooses, or a range such as "20000-20010", found -1"#
        ),
        (exposing("port = \"2-3\""), "a:6: expose[1].port: expected as many ports as the service has (1), found 2"),
        (
            exposing("port = 2222") + exposing("port = 2222"),
            "a:10: expose[2].port: tcp:2222 is exposed already on line 3"
        ),
        (
            exposing("name = \"a\"") + exposing("name = \"a\""),
            #"a:10: expose[2].name: "a" is the name of line 3 already"#
        ),
        (exposing("prot = 1"), #"a:6: expose[1].prot: unknown key; did you mean "port"?"#),
        ("\nfoo.bar = 2", "a:4: foo: unknown key"), ("\n[bar.foo]", "a:4: bar: unknown key"),
        (
            "\ninvite = \"natfwt1.abc\"",
            "a:4: invite: the invite is incomplete or mistyped: copy the whole line again, from natfwt1. to its last character"
        ),
        ("\ninvite = \"abc\"", "a:4: invite: this is not an invite; one begins with natfwt1."),
        (exposing("proto = 1"), #"a:6: expose[1].proto: unknown key; did you mean "protocol"?"#),
        (
            "[[expose]]\nprotocol = \"udp\"\nservice = \"a:1\"\nproxy-protocol = \"v2\"",
            "a:6: expose[1].proxy-protocol: is for tcp only"
        ),
        (
            "[[expose]]\nprotocol = \"udp\"\nservice = \"a:0\"",
            #"a:5: expose[1].service: expected a "host:port" or a "host:first-last" with ports from 1 to 65535, found "a:0""#
        ),
        ("[expose]\nprotocol = \"udp\"", "a:3: expose: expected tables [[expose]], found a table"),
        (
            "[timeouts]\nbackoff-maximum = \"100ms\"",
            "a:4: timeouts.backoff-maximum: expected at least backoff-initial (500ms)"
        ),
        ("name = \"a\\nb\"", #"a:3: name: expected a name of 1 to 64 printable characters, found "a\u{a}b""#),
    ]

    static func exposing(_ last: String) -> String {
        "[[expose]]\nprotocol = \"tcp\"\nservice = \"127.0.0.1:22\"\n\(last)\n"
    }

    @Test(arguments: wrong)
    func wrongTextIsTold(text: String, message: String) {
        let error = #expect(throws: SettingsError.self) { try AgentSettings.parse(Self.head + text, file: "a") }
        #expect(error?.description == message)
    }

    @Test(arguments: ["", "SHA256:", "SHA256:AAAA", "SHA256:" + String(repeating: "-", count: 43), "MD5:00"])
    func wrongFingerprintIsRefused(text: String) {
        let error = #expect(throws: SettingsError.self) {
            try AgentSettings.parse("relay = [\"r:1\"]\nrelay-key = \"\(text)\"", file: "a")
        }
        #expect(error?.problems.first?.line == 2)
    }

    @Test func sameNumberForBothProtocolsIsNoOverlap() throws {
        let udp = "[[expose]]\nprotocol = \"udp\"\nservice = \"127.0.0.1:53\"\nport = 2222\n"
        #expect(try AgentSettings.parse(Self.head + Self.exposing("port = 2222") + udp, file: "a").expose.count == 2)
    }

    @Test func tooManyPortsAreRefused() {
        let text = "[[expose]]\nprotocol = \"tcp\"\nservice = \"127.0.0.1:1-65535\"\nport = \"1-65535\"\n"
        let error = #expect(throws: SettingsError.self) { try AgentSettings.parse(Self.head + text, file: "a") }
        #expect(error?.description == "a:6: expose[1].port: more than 4096 ports are exposed")
    }
}
