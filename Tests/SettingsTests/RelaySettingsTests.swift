// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Settings

/// What a whole file gives, and what is said about a wrong one.
@Suite struct RelaySettingsTests {
    @Test(arguments: ["", "\n\n", "# nothing\n", "\u{FEFF}", "\u{FEFF}# nothing", "\r\n \t\r\n", "[limits]\n[log]\n"])
    func emptyFileGivesDefaults(text: String) throws {
        #expect(try RelaySettings.parse(text, file: "relay.toml") == RelaySettings())
    }

    @Test func everyKeyIsRead() throws {
        let settings = try RelaySettings.parse(
            """
            listen = ["127.0.0.1:8443"]
            state-directory = "state"
            public-address = ["relay.example.com:8443", "192.0.2.1"]
            admin-socket = "/tmp/r.sock"
            [expose]
            bind = ["::1"]
            ports = ["tcp:22", "udp:5000-6000"]
            automatic = "5900-30009"
            [egress]
            allow = true
            also = ["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"]
            except = ["10.1.2.0/24"]
            ports = ["tcp:443"]
            [log]
            level = "debug"
            format = "json"
            [limits]
            dials-per-node = 3
            nodes = 2
            queued-bytes-per-node = "8 MiB"
            datagram-queue = 65536
            [timeouts]
            handshake = "1m30s"
            half-closed = "2h"
            """, file: "/etc/natfwt/relay.toml")
        #expect(settings.listen.map(\.description) == ["127.0.0.1:8443"])
        #expect(settings.stateDirectory == "/etc/natfwt/state")
        #expect(settings.publicAddress.map(\.description) == ["relay.example.com:8443", "192.0.2.1:8443"])
        #expect(settings.adminSocket == "/tmp/r.sock")
        #expect(settings.expose.bind == [.loopbackV6])
        #expect(settings.expose.ports.map(\.description) == ["tcp:22", "udp:5000-6000"])
        #expect(settings.expose.permits(.udp, 5500) && !settings.expose.permits(.tcp, 5500))
        #expect(settings.expose.automatic == 5900...30009)
        #expect(settings.egress.allow)
        #expect(settings.egress.also.map(\.description) == ["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"])
        #expect(settings.egress.except.map(\.description) == ["10.1.2.0/24"])
        #expect(settings.egress.ports.map(\.description) == ["tcp:443"])
        #expect(settings.limits.dialsPerNode == 3)
        #expect(settings.log.level == .debug && settings.log.format == .json)
        #expect(settings.limits.nodes == 2)
        #expect(settings.limits.queuedBytesPerNode == 8 << 20)
        #expect(settings.limits.datagramQueue == 65_536)
        #expect(settings.timeouts.handshake == .seconds(90))
        #expect(settings.timeouts.halfClosed == .seconds(7200))
        #expect(settings.timeouts.drain == RelaySettings().timeouts.drain)
    }

    /// The port of an address that has none is the first that the relay listens on.
    @Test(arguments: [
        ("listen = [\"0.0.0.0:4443\", \"[::]:5\"]", "h:4443"), ("listen = [\"[::]:7\"]", "h:7"), ("", "h:443"),
    ])
    func publicPort(listen: String, address: String) throws {
        let settings = try RelaySettings.parse("\(listen)\npublic-address = [\"h\", \"h:1\"]", file: "r")
        #expect(settings.publicAddress.map(\.description) == [address, "h:1"])
    }

    /// Where a port is looked for that nobody has named.
    @Test(
        arguments: [
            ("", 20_000, 29_999, 20_000, 29_999),
            ("ports = [\"tcp:1024-19999\"]", 1_024, 19_999, 20_000, 29_999),
            ("ports = [\"tcp:5-6\", \"udp:1-65535\", \"tcp:40000\"]", 5, 40_000, 20_000, 29_999),
            ("ports = [\"tcp:29999-40000\", \"udp:53\"]", 20_000, 29_999, 53, 53),
            ("ports = [\"tcp:1-65535\", \"udp:53\"]\nautomatic = \"700-800\"", 700, 800, 700, 800),
        ] as [(String, UInt16, UInt16, UInt16, UInt16)])
    func automaticPorts(text: String, a: UInt16, b: UInt16, c: UInt16, d: UInt16) throws {
        let expose = try RelaySettings.parse("[expose]\n\(text)", file: "r").expose
        #expect(expose.automaticPorts(.tcp) == a...b && expose.automaticPorts(.udp) == c...d)
    }

    /// A wrong text, and the line that tells it.
    static let wrong: [(text: String, message: String)] = [
        (
            "[limits]\nstreams-per-node = \"many\"",
            #"r:2: limits.streams-per-node: expected a whole number from 1 to 1000000, found "many""#
        ),
        ("[limits]\nnodes = 0", "r:2: limits.nodes: expected a whole number from 1 to 1000000, found 0"),
        ("limits.nodes = 1.5", "r:1: limits.nodes: expected a whole number from 1 to 1000000, found 1.5"),
        ("limits = { nodes = true }", "r:1: limits.nodes: expected a whole number from 1 to 1000000, found true"),
        ("limits = 3", "r:1: limits: expected a table [limits], found 3"),
        ("[[limits]]\nnodes = 1", "r:1: limits: expected a table [limits], found a list"),
        (
            "\n\nlisten = \"[::]:443\"",
            #"r:3: listen: expected a list of an "address:port" with a port from 1 to 65535, found "[::]:443""#
        ),
        (
            "listen = [\n  \"[::]:443\", # first\n  \"0.0.0.0:65536\",\n]",
            #"r:3: listen: expected an "address:port" with a port from 1 to 65535, found "0.0.0.0:65536""#
        ),
        (
            "listen = [\"[::]:0\"]",
            #"r:1: listen: expected an "address:port" with a port from 1 to 65535, found "[::]:0""#
        ),
        (
            "listen = [\"[::]:-1\"]",
            #"r:1: listen: expected an "address:port" with a port from 1 to 65535, found "[::]:-1""#
        ),
        (
            "listen = []",
            #"r:1: listen: expected a list of an "address:port" with a port from 1 to 65535, found an empty list"#
        ),
        ("listen = [\"[::]:1\",\n\"[::]:1\"]", #"r:2: listen: "[::]:1" stands there twice"#),
        ("lissen = []", #"r:1: lissen: unknown key; did you mean "listen"?"#),
        (
            "[limits]\nstreams_per_node = 1",
            #"r:2: limits.streams_per_node: unknown key; did you mean "streams-per-node"?"#
        ),
        ("[foo.bar]\nx = 1", "r:1: foo: unknown key"),
        (
            "[log]\nlevel = \"loud\"",
            #"r:2: log.level: expected "trace", "debug", "info", "notice", "warning", "error" or "critical", found "loud""#
        ),
        (
            "[timeouts]\ndrain = 30",
            #"r:2: timeouts.drain: expected a duration such as "1m30s" from 0s to 1d, found 30"#
        ),
        (
            "[timeouts]\r\ndrain = 1979-05-27 07:32:00\r\n",
            #"r:2: timeouts.drain: expected a duration such as "1m30s" from 0s to 1d, found a date or time"#
        ),
        (
            "[expose]\nports = [\"tcp:20-10\"]",
            #"r:2: expose.ports: expected ports such as "tcp:20000-20100" from 1 to 65535, found "tcp:20-10""#
        ),
        (
            "[expose]\nautomatic = \"1-100\"\nports = [\"udp:101\", \"tcp:*\"]",
            "r:2: expose.automatic: none of these ports is among expose.ports (udp:101, tcp:*)"
        ),
        (
            "[expose]\nautomatic = \"0-10\"",
            #"r:2: expose.automatic: expected a range of ports such as "20000-29999", found "0-10""#
        ),
        ("[egress]\nallow = \"yes\"", #"r:2: egress.allow: expected true or false, found "yes""#),
        ("[egress]\nallow = 1", "r:2: egress.allow: expected true or false, found 1"),
        (
            "[egress]\nalso = [\n\"10.0.0.0/8\",\n\"10.0.0.1/8\"]",
            #"r:4: egress.also: expected addresses such as "10.1.0.0/16" with no bits behind the prefix, found "10.0.0.1/8""#
        ),
        (
            "[egress]\nexcept = [\"example.org\"]",
            #"r:2: egress.except: expected addresses such as "10.1.0.0/16" with no bits behind the prefix, found "example.org""#
        ),
        (
            "[egress]\nports = [\"tcp:0\"]",
            #"r:2: egress.ports: expected ports such as "tcp:20000-20100" from 1 to 65535, found "tcp:0""#
        ),
        (
            "[limits]\nfirst-window = \"32 MiB\"",
            "r:2: limits.first-window: expected at most stream-window (16 MiB), found 32 MiB"
        ),
        (
            "admin-socket = \"/\(String(repeating: "a", count: 107))\"",
            "r:1: admin-socket: expected a path of at most 107 bytes, found \"/\(String(repeating: "a", count: 79))…\""
        ),
        ("state-directory = \"a\\u0007b\"\nx = 1", "r:2: x: unknown key"),
        ("state-directory = \"a\\u0000b\"", "r:1: expected text, found a NUL character"),
    ]

    @Test(arguments: wrong)
    func wrongTextIsTold(text: String, message: String) {
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.description == message)
    }

    @Test(arguments: [
        ("x = = 1", "r:1: expected a value, found \"=\""),
        ("a = 1\nlisten = [", "r:2: expected \"]\", found the end of the file"),
        ("a 1", "r:1: expected \"=\", found \"1\""), ("[+]", "r:1: expected a key, found \"+\""),
        ("[log] x", "r:1: expected the end of the line, found \"x\""),
        ("a =\n1", "r:1: expected a value, found the end of the line"),
        ("\na = \"\"\"\n\n", "r:2: the string does not end"), ("a = 'b\n'", "r:1: the string does not end"),
    ])
    func brokenGrammarIsTold(text: String, message: String) {
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.description == message)
    }

    /// The library finds these; their line matters, not their wording.
    @Test(arguments: [
        ("a = 1\nlisten = [", 2), ("[log]\nlevel = \"info\"\nlevel = \"debug\"", 3), ("\n[log]\n[log]", 3),
        ("x = = 1", 1),
        ("listen = \"", 1), ("[log\nlevel = 1", 1), ("\"\"\"", 1), ("[log]\n\n'a' = 'b", 3),
    ])
    func syntaxErrorHasItsLine(text: String, line: Int) {
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.problems.count == 1)
        #expect(error?.problems.first?.line == line, "\(String(describing: error))")
    }

    @Test func allErrorsAreToldTogetherInOrder() {
        let text = "[timeouts]\nhandshake = 1\n[limits]\nnodes = 0\nhandshakes = 0\n[log]\nformat = \"xml\"\n[other]\n"
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.problems.map(\.line) == [2, 4, 5, 7, 8])
    }

    @Test func atMostTenErrorsAreTold() {
        let text = (1...25).map { "unheard-of-\($0) = 1\n" }.joined()
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.problems.map(\.line) == Array(1...10))
        #expect(error?.description.hasSuffix("\n… and 15 more") == true)
    }

    @Test func controlCharactersAreNotRepeated() {
        let error = #expect(throws: SettingsError.self) {
            try RelaySettings.parse(#"listen = ["a\nb\u001b[2J"]"#, file: "r")
        }
        #expect(error?.description.contains(#"found "a\u{a}b\u{1b}[2J""#) == true)
    }
}
