// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Settings

/// Listeners, nodes and forwards as the command line takes them.
@Suite struct ForwardTests {
    private static let fingerprint = AgentSettingsTests.fingerprint

    /// As written, and in the one form that it has.
    @Test(arguments: [
        ("15432", "15432"), ("localhost:15432", "15432"), ("127.0.0.1:15432", "127.0.0.1:15432"),
        ("[::1]:15432", "[::1]:15432"), ("[0:0::1]:15432", "[::1]:15432"), ("0.0.0.0:1", "0.0.0.0:1"), ("*:1", "*:1"),
        ("0.0.0.0:1,[::]:1", "*:1"), ("127.0.0.1:1,[::1]:1", "1"), ("1,2", "127.0.0.1:1,[::1]:1,127.0.0.1:2,[::1]:2"),
    ])
    func listen(text: String, canonical: String) throws {
        let addresses = try #require(ListenText.parse(text))
        #expect(ListenText.text(addresses) == canonical)
        #expect(ListenText.parse(canonical) == addresses)
    }

    @Test(arguments: [
        "", "0", "+1", "-1", "1-2", "65536", "a", "a:1", ":1", "*", "127.0.0.1", "127.0.0.1:", "::1:1", "[::1]",
        "[::1]1",
        "127.1:1", "1,1", "1,[::1]:1", "1,", " 1", "１", "home:1", "[127.0.0.1]:1",
    ])
    func wrongListen(text: String) { #expect(ListenText.parse(text) == nil) }

    @Test(arguments: [
        ("15432:home:5432", "15432 home:5432"), ("127.0.0.1:15432:home:5432", "127.0.0.1:15432 home:5432"),
        ("[::1]:15432:home:5432", "[::1]:15432 home:5432"), ("*:15432:home:5432", "*:15432 home:5432"),
        (":15432:home:5432", "*:15432 home:5432"), ("localhost:15432:home:5432", "15432 home:5432"),
        ("1:home.natfwt.internal:2", "1 home.natfwt.internal:2"), ("1:HOME:2", "1 home:2"),
        ("1:[2001:21::1]:2", "1 [2001:21::1]:2"), ("[::]:1:[2001:21:0::1]:2", "[::]:1 [2001:21::1]:2"),
        ("1:\(fingerprint):2", "1 [\(fingerprint)]:2"), ("*:1:[\(fingerprint)]:2", "*:1 [\(fingerprint)]:2"),
    ])
    func sshStyle(text: String, canonical: String) throws {
        let forward = try Forward(sshStyle: text)
        #expect(forward.description == canonical)
        let words = canonical.split(separator: " ").map(String.init)
        #expect(try Forward(listen: words[0], target: words[1]) == forward)
    }

    @Test(arguments: [
        "", ":", "::", ":::", "::::", "1:home", "home:1", "1:home:0", "0:home:1", "1:home:1:1", "x:1:home:1", "1::1",
        "[::1:1:home:1", "::1]:1:home:1", "[[::1]]:1:home:1", "1:[home:2", "1:home]:2", "1:2001:21::1:2", "1:ho me:2",
        "1,2:home:3", "SHA256", "SHA256:", "1:SHA256:2", "1:home:2:", "a/1/home/2", "1:home:2-3",
    ])
    func wrongSSHStyle(text: String) { #expect(throws: ForwardError.self) { try Forward(sshStyle: text) } }

    @Test(arguments: [
        ("15432", "home"), ("15432", "home:0"), ("15432", ":5432"), ("15432", "home:5432-5433"), ("", "home:1"),
        ("15432", "home:5432:1"), ("15432", "2001:21::1:1"), ("15432", "home:ssh"), ("15432", "*:1"),
    ])
    func wrongArguments(listen: String, target: String) {
        #expect(throws: ForwardError.self) { try Forward(listen: listen, target: target) }
    }

    /// Which part is wrong.
    @Test func theWrongPart() {
        #expect(throws: ForwardError.target("home:99999")) { try Forward(listen: "80", target: "home:99999") }
        #expect(throws: ForwardError.listen("foo")) { try Forward(listen: "foo", target: "home:99") }
        #expect(throws: ForwardError.target("home:0")) { try Forward(sshStyle: "80:home:0") }
        #expect(throws: ForwardError.listen("99999")) { try Forward(sshStyle: "99999:home:1") }
        #expect(throws: ForwardError.listen("x:1")) { try Forward(sshStyle: "x:1:home:1") }
        #expect(throws: ForwardError.form("80")) { try Forward(sshStyle: "80") }
    }

    // MARK: Nodes

    @Test(arguments: [
        ("home", "home"), ("Home.Natfwt.Internal", "home.natfwt.internal"), (fingerprint, fingerprint),
        ("2001:2f:0::1", "2001:2f::1"),
    ])
    func destination(text: String, canonical: String) { #expect(NodeText.destination(text) == canonical) }

    @Test(arguments: [
        "", "*", "10.0.0.1", "2001:db8::1", "ho me", "home:1", "SHA256:", "a..b", "home\n", "[2001:21::1]",
    ])
    func wrongDestination(text: String) { #expect(NodeText.destination(text) == nil) }

    // MARK: What is served

    @Test func serveArguments() throws {
        let serve = try Serve(
            transport: .tcp, ports: ["22", "8000-8010", "22"], to: ["laptop", "laptop", "*"], host: "[::1]")
        #expect(serve == Serve(transport: .tcp, ports: [22...22, 8000...8010], to: ["laptop", "*"], host: "::1"))
    }

    @Test(
        arguments: [
            ([], ["a"], "h", ServeError.noPorts), (["1"], [], "h", .nobody), (["0"], ["a"], "h", .port("0")),
            (["x"], ["a"], "h", .port("x")), (["1"], ["A"], "h", .node("A")), (["1"], ["a.b"], "h", .node("a.b")),
            (["1"], ["a"], "", .host("")), (["1"], ["a"], "h:1", .host("h:1")), (["1"], ["a"], "[h]", .host("[h]")),
        ] as [([String], [String], String, ServeError)])
    func wrongServe(ports: [String], to: [String], host: String, error: ServeError) {
        #expect(throws: error) { try Serve(transport: .udp, ports: ports, to: to, host: host) }
        #expect(!error.description.isEmpty)
    }
}
