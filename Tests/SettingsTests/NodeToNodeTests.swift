// SPDX-License-Identifier: Apache-2.0

import Foundation
import Primitives
import Testing

@testable import Settings

/// `[[serve]]`, `[[forward]]`, `[socks]`, `name-suffix` and `known-nodes`.
@Suite struct NodeToNodeTests {
    private static let head = AgentSettingsTests.head
    private static let fingerprint = AgentSettingsTests.fingerprint

    private static func addresses(_ texts: String...) -> [TransportAddress] {
        texts.compactMap { TransportAddress($0) }
    }

    @Test func everyKeyIsRead() throws {
        let settings = try AgentSettings.parse(
            Self.head + """
                name-suffix = "Nodes.Example.ORG"
                known-nodes = "known"
                [[serve]]
                protocol = "tcp"
                ports = [22, "5432", "8000-8010"]
                to = ["laptop", "\(Self.fingerprint)", "2001:0021:0::1", "*"]
                [[serve]]
                protocol = "udp"
                ports = [53]
                to = ["*"]
                host = "[::1]"
                [[forward]]
                listen = "15432"
                to = "Home:5432"
                [[forward]]
                listen = 15433
                to = "\(Self.fingerprint):5432"
                [socks]
                listen = "127.0.0.1:1080"
                user = "me"
                password = "se:cret"
                [adapter]
                """, file: "/etc/natfwt/agent.toml")
        #expect(settings.nameSuffix == "nodes.example.org")
        #expect(settings.knownNodes == "/etc/natfwt/known")
        #expect(
            settings.serve == [
                Serve(
                    transport: .tcp, ports: [22...22, 5432...5432, 8000...8010],
                    to: ["laptop", Self.fingerprint, "2001:21::1", "*"]),
                Serve(transport: .udp, ports: [53...53], to: ["*"], host: "::1"),
            ])
        #expect(
            settings.forward == [
                Forward(
                    listen: Self.addresses("127.0.0.1:15432", "[::1]:15432"),
                    target: HostAndPort(host: "home", port: 5432)),
                Forward(
                    listen: Self.addresses("127.0.0.1:15433", "[::1]:15433"),
                    target: HostAndPort(host: Self.fingerprint, port: 5432)),
            ])
        #expect(
            settings.socks
                == SOCKSListener(
                    listen: Self.addresses("127.0.0.1:1080"),
                    credentials: SOCKSCredentials(user: "me", password: "se:cret")))
        #expect(settings.adapter == AdapterSettings(name: "natfwt0"))
        #expect(settings.warnings.isEmpty)
    }

    @Test func defaults() throws {
        let settings = try AgentSettings.parse(Self.head, file: "/etc/natfwt/agent.toml")
        #expect(settings.serve.isEmpty && settings.forward.isEmpty && settings.socks == nil && settings.adapter == nil)
        #expect(settings.nameSuffix == "natfwt.internal")
        #expect(settings.knownNodes == "/etc/natfwt/known-nodes")
    }

    private static let node = "\(NodeText.expected), or \"*\" for every node of this relay"
    private static let port = #"a port from 1 to 65535, or a range such as "8000-8010""#
    private static let serve = "[[serve]]\nprotocol = \"tcp\"\n"

    private static func forward(_ listen: String) -> String { "[[forward]]\nlisten = \(listen)\nto = \"home:1\"\n" }

    /// What follows the head's two lines, and what is said about it.
    private static let wrong: [(text: String, message: String)] = [
        (serve + "ports = [22]", "a:3: serve[1].to: is missing"),
        (serve + "to = [\"*\"]", "a:3: serve[1].ports: is missing"),
        ("[[serve]]\nports = [1]\nto = [\"*\"]", "a:3: serve[1].protocol: is missing"),
        (serve + "ports = [22]\nto = []", "a:6: serve[1].to: expected a list of \(node), found an empty list"),
        (serve + "ports = []\nto = [\"*\"]", "a:5: serve[1].ports: expected a list of \(port), found an empty list"),
        (serve + "ports = [0]\nto = [\"*\"]", "a:5: serve[1].ports: expected \(port), found 0"),
        (serve + "ports = [-1]\nto = [\"*\"]", "a:5: serve[1].ports: expected \(port), found -1"),
        (serve + "ports = [\"2-1\"]\nto = [\"*\"]", "a:5: serve[1].ports: expected \(port), found \"2-1\""),
        (serve + "ports = [22, \"22\"]\nto = [\"*\"]", "a:5: serve[1].ports: \"22\" stands there twice"),
        (serve + "ports = 22\nto = [\"*\"]", "a:5: serve[1].ports: expected a list of \(port), found 22"),
        (serve + "ports = [22]\nto = \"*\"", "a:6: serve[1].to: expected a list of \(node), found \"*\""),
        (serve + "ports = [22]\nto = [\n\"*\",\n\"Lap top\"]", "a:8: serve[1].to: expected \(node), found \"Lap top\""),
        (serve + "ports = [22]\nto = [\"10.0.0.1\"]", "a:6: serve[1].to: expected \(node), found \"10.0.0.1\""),
        (serve + "ports = [22]\nto = [\"2001:db8::1\"]", "a:6: serve[1].to: expected \(node), found \"2001:db8::1\""),
        (serve + "ports = [22]\nto = [\"SHA256:AA\"]", "a:6: serve[1].to: expected \(node), found \"SHA256:AA\""),
        (
            serve + "ports = [22]\nto = [\"*\"]\nhost = \"a:1\"",
            #"a:7: serve[1].host: expected an address or a host name, found "a:1""#
        ),
        (
            serve + "ports = [22]\nto = [\"*\"]\nhosts = \"a\"",
            #"a:7: serve[1].hosts: unknown key; did you mean "host"?"#
        ),
        ("[serve]\nprotocol = \"tcp\"", "a:3: serve: expected tables [[serve]], found a table"),
        ("[[forward]]\nto = \"home:1\"", "a:3: forward[1].listen: is missing"),
        ("[[forward]]\nlisten = \"1\"", "a:3: forward[1].to: is missing"),
        (forward("\"0\""), "a:4: forward[1].listen: expected \(ListenText.expected), found \"0\""),
        (forward("65536"), "a:4: forward[1].listen: expected \(ListenText.expected), found 65536"),
        (forward("\"home:1\""), "a:4: forward[1].listen: expected \(ListenText.expected), found \"home:1\""),
        (
            "[[forward]]\nlisten = \"1\"\nto = \"home\"",
            #"a:5: forward[1].to: expected a node and a port, such as "home:5432", found "home""#
        ),
        (forward("1") + forward("\"[::1]:1\""), "a:7: forward[2].listen: [::1]:1 is listened on already on line 3"),
        (
            forward("\"*:1\"") + forward("\"10.0.0.1:1\""),
            "a:7: forward[2].listen: 10.0.0.1:1 is listened on already on line 3"
        ),
        (
            forward("\"10.0.0.1:1\"") + "[socks]\nlisten = \"0.0.0.0:1\"",
            "a:7: socks.listen: 10.0.0.1:1 is listened on already on line 3"
        ),
        ("[socks]", "a:3: socks.listen: is missing"),
        (
            "[adapter]\nname = \"a/b\"",
            #"a:4: adapter.name: expected an interface's name: 1 to 15 letters, digits, "-", "_" and ".", found "a/b""#
        ),
        (
            "[adapter]\nname = \"sixteen-letters-\"",
            #"a:4: adapter.name: expected an interface's name: 1 to 15 letters, digits, "-", "_" and ".", "#
                + #"found "sixteen-letters-""#
        ),
        ("[[socks]]\nlisten = 1", "a:3: socks: expected a table [socks], found a list"),
        ("[socks]\nlisten = 1080\nuser = \"me\"", "a:5: socks.user: is of no use without a password"),
        ("[socks]\nlisten = 1080\npassword = \"x\"", "a:5: socks.password: is of no use without a user"),
        (
            "[socks]\nlisten = 1080\nuser = \"a:b\"\npassword = \"x\"",
            "a:5: socks.user: expected a user name of 1 to 255 bytes without a colon"
        ),
        (
            "[socks]\nlisten = 1080\nuser = \"a\"\npassword = 1234",
            "a:6: socks.password: expected a password of 1 to 255 bytes"
        ),
        (
            "name-suffix = \"a..b\"",
            #"a:3: name-suffix: expected a domain name such as "natfwt.internal", found "a..b""#
        ),
        ("known-nodes = \"\"", #"a:3: known-nodes: expected a path, found """#),
    ]

    @Test(arguments: wrong)
    func wrongTextIsTold(text: String, message: String) {
        let error = #expect(throws: SettingsError.self) { try AgentSettings.parse(Self.head + text, file: "a") }
        #expect(error?.description == message)
    }

    @Test(arguments: [
        "", ".", "natfwt.", ".natfwt", "-a.b", "a-.b", "a_b.c", "a b", "10.0.0.1", "a.1", "::1", "é.example",
        String(repeating: "a", count: 64), String(repeating: "a.", count: 95) + "a",
    ])
    func wrongSuffix(text: String) { #expect(DomainText.suffix(text) == nil) }

    @Test(arguments: ["natfwt.internal", "internal", "a-1.b2", String(repeating: "a.", count: 94) + "a"])
    func rightSuffix(text: String) { #expect(DomainText.suffix(text) == text) }

    // MARK: Warnings

    @Test func passwordForEveryoneToReadIsTold() throws {
        let path = NSTemporaryDirectory() + "natfwt-\(UUID().uuidString).toml"
        let text = Self.head + "[socks]\nlisten = 1080\nuser = \"a\"\npassword = \"b\"\n"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        chmod(path, 0o644)
        #expect(try AgentSettings.load(path: path).warnings.map { $0.contains("holds a password") } == [true])
        chmod(path, 0o600)
        #expect(try AgentSettings.load(path: path).warnings.isEmpty)
        try ("invite = \"\(AgentSettingsTests.invite)\"\n" + text).write(
            toFile: path, atomically: true, encoding: .utf8)
        chmod(path, 0o604)
        #expect(try AgentSettings.load(path: path).warnings.first?.contains("holds an invite and a password") == true)
    }

    @Test(arguments: [("1080", false), ("[::1]:1080", false), ("*:1080", true), ("127.0.0.1:1,192.0.2.1:1", true)])
    func openProxyIsTold(listen: String, isTold: Bool) throws {
        let text = Self.head + "[socks]\nlisten = \"\(listen)\"\n"
        #expect(try AgentSettings.parse(text, file: "a").warnings.isEmpty == !isTold)
        let guarded = text + "user = \"a\"\npassword = \"b\"\n"
        #expect(try AgentSettings.parse(guarded, file: "a").warnings.isEmpty)
    }

    @Test func passwordIsNeverPrinted() throws {
        let socks = SOCKSListener(listen: [], credentials: SOCKSCredentials(user: "me", password: "hidden"))
        var dumped = ""
        dump(socks, to: &dumped)
        #expect(!"\(socks) \(String(reflecting: socks)) \(dumped)".contains("hidden"))
    }
}
