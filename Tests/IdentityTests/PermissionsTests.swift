// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Identity

@Suite struct PermissionsTests {
    @Test(
        arguments: [
            ("tcp:20000-20100", PortProtocol.tcp, 20000...20100, "tcp:20000-20100"),
            ("udp:53", .udp, 53...53, "udp:53"),
            ("tcp:*", .tcp, 1024...65535, "tcp:*"), ("udp:1024-65535", .udp, 1024...65535, "udp:*"),
            ("tcp:1-65535", .tcp, 1...65535, "tcp:1-65535"), ("tcp:7-7", .tcp, 7...7, "tcp:7"),
            ("tcp:00022", .tcp, 22...22, "tcp:22"),
        ] as [(String, PortProtocol, ClosedRange<UInt16>, String)])
    func rules(text: String, proto: PortProtocol, ports: ClosedRange<UInt16>, printed: String) throws {
        let rule = try PortRule(text)
        #expect(rule.protocol == proto)
        #expect(rule.ports == ports)
        #expect(rule.description == printed)
        #expect(try PortRule(printed) == rule)
    }

    @Test(arguments: [
        "", "tcp", "tcp:", ":1", "sctp:1", "TCP:1", "tcp:0", "tcp:0-5", "tcp:65536", "tcp:1-65536", "tcp:5-4", "tcp:1-",
        "tcp:-1", "tcp:1-2-3", "tcp:+1", "tcp: 1", "tcp:1:2", "tcp:**", "tcp:1-*", "tcp:a", "tcp:000001",
        "tcp:\u{FF11}",
        "tcp:1\0", "icmp:1", "tcp:٣",
    ])
    func otherTextsAreRefused(text: String) {
        #expect(throws: PortRuleError.self) { try PortRule(text) }
    }

    @Test func hugeTextsAreRefused() {
        #expect(throws: PortRuleError.self) { try PortRule(String(repeating: "tcp:1", count: 100_000)) }
        #expect(throws: NodeNameError.tooLong) { try NodeName(String(repeating: "x", count: 1 << 20)) }
    }

    @Test func errorsQuoteWhatWasFoundWithinBounds() {
        #expect(throws: PortRuleError("tcp:x")) { try PortRule("tcp:x") }
        let error = PortRuleError(String(repeating: "\u{1B}[31m", count: 1000))
        #expect(error.found.count == 40)
        #expect(!error.description.contains("\u{1B}"))
    }

    @Test func permissionsAreReadAsTheyArePrinted() throws {
        let permissions = try Permissions("tcp:20000-20100,udp:53")
        #expect(permissions.description == "tcp:20000-20100,udp:53")
        #expect(permissions.mayExpose(.tcp, port: 20000))
        #expect(permissions.mayExpose(.tcp, port: 20100))
        #expect(!permissions.mayExpose(.tcp, port: 20101))
        #expect(!permissions.mayExpose(.udp, port: 20000))
        #expect(permissions.mayExpose(.udp, port: 53))
        #expect(throws: PortRuleError.self) { try Permissions("tcp:1,x") }
    }

    @Test(arguments: [
        ("tcp:20000-20100,egress", "tcp:20000-20100,egress", true), ("egress", "egress", true),
        ("egress,udp:53", "udp:53,egress", true), ("tcp:*,udp:*", "tcp:*,udp:*", false), ("", "", false),
    ])
    func goingOutIsAWordAmongThem(text: String, printed: String, egress: Bool) throws {
        let permissions = try Permissions(text)
        #expect(permissions.egress == egress)
        #expect(permissions.description == printed)
        #expect(try Permissions(printed) == permissions)
    }

    @Test(arguments: [
        ("tcp:*", "tcp:*", "every node", true), ("reach:", "reach:", "no node", false),
        ("reach:home", "reach:home", "home", true),
        ("reach:home,tcp:80,egress,reach:db", "tcp:80,egress,reach:db,reach:home", "db,home", true),
        ("reach:db,reach:", "reach:db", "db", false),
    ])
    func nodesThatMayBeReached(text: String, printed: String, words: String, home: Bool) throws {
        let permissions = try Permissions(text)
        #expect(permissions.description == printed)
        #expect(try Permissions(printed) == permissions)
        #expect(permissions.reach.inWords == words)
        #expect(permissions.reach.allows(try NodeName("home")) == home)
    }

    @Test(arguments: [
        "Egress", "egress ", "egress:80", "tcp:egress", "ingress", "reach", "reach:Home", "reach:*", "reach: db",
    ])
    func otherWordsAreRefused(text: String) { #expect(throws: PortRuleError.self) { try Permissions(text) } }

    @Test func nothingAllowsNothing() throws {
        let none = try Permissions("")
        #expect(none.expose.isEmpty && !none.egress && none.exposable == "nothing")
        #expect(none.description == "")
        #expect(!none.mayExpose(.tcp, port: 2222))
    }

    @Test func standardIsEveryUnprivilegedPort() {
        #expect(Permissions.standard.description == "tcp:*,udp:*" && !Permissions.standard.egress)
        for proto in PortProtocol.allCases {
            #expect(!Permissions.standard.mayExpose(proto, port: 0))
            #expect(!Permissions.standard.mayExpose(proto, port: 1023))
            #expect(Permissions.standard.mayExpose(proto, port: 1024))
            #expect(Permissions.standard.mayExpose(proto, port: 65535))
        }
        #expect(PortRule(.tcp, 0...5) == nil)
    }
}

@Suite struct NodeNameTests {
    @Test(arguments: ["a", "0", "home", "a-b", "a--b", "1-2-3", String(repeating: "x", count: 63)])
    func names(text: String) throws { #expect(try NodeName(text).description == text) }

    @Test(arguments: [
        ("", NodeNameError.empty), (String(repeating: "x", count: 64), .tooLong),
        ("A", .character("A")), ("a b", .character(" ")),
        ("a.b", .character(".")), ("a_b", .character("_")), ("é", .character("é")), ("a\0", .character("\0")),
        ("a\n", .character("\n")), ("-a", .hyphenAtEnd), ("a-", .hyphenAtEnd), ("-", .hyphenAtEnd),
        ("e\u{301}", .character("\u{301}")),
    ])
    func otherTextsAreRefused(text: String, error: NodeNameError) {
        #expect(throws: error) { try NodeName(text) }
    }

    @Test func errorsAreInWordsAndHarmless() {
        #expect(
            NodeNameError.character("A").description
                == "a node's name is made of a-z, 0-9 and hyphens; \"A\" can't be in it")
        #expect(NodeNameError.character("\u{1B}").description.contains("U+1B can't"))
    }
}
