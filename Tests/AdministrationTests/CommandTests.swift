// SPDX-License-Identifier: Apache-2.0

import Foundation
import Primitives
import Settings
import TestSupport
import Testing

@testable import Administration

/// The real command line against an agent that is played: what it sends, prints, and ends with.
@Suite(.enabled(if: Natfwt.isBuilt, "needs the natfwt program")) struct CommandTests {
    private static let fingerprint = "SHA256:" + String(repeating: "A", count: 43)

    /// A site whose agent takes each request down, and says `answer`.
    private static func site(_ answer: AgentAnswer = .ok, lines: String = "", ends: Bool = false) throws -> Site {
        let site = try Site()
        site.program.begin = { _, conversation in
            conversation.answer(answer)
            conversation.send(lines)
            if ends { conversation.end() }
            return true
        }
        return site
    }

    private static func start(
        _ site: Site, _ arguments: [String], socket: Bool = true, input: String = "/dev/null"
    ) throws -> Child {
        let asked = socket ? ["--socket", site.path] : []
        return try Child(
            "natfwt", [Natfwt.binary] + arguments + asked, environment: ["HOME": site.folder.path], input: input,
            directory: site.folder.path)
    }

    private static func end(_ child: Child, _ site: Site) throws -> Int32? {
        try site.runner.run("the command's end: \(child.log)") { !child.isRunning }
        return child.exitCode
    }

    static let requests: [([String], String)] = [
        (["forward", "15432", "home:5432"], "forward 15432 home:5432"),
        (["forward", "15432:home:5432"], "forward 15432 home:5432"),
        (["forward", "[::1]:1:Home.natfwt.internal:2"], "forward [::1]:1 home.natfwt.internal:2"),
        (["forward", "*:1:[2001:21:0::1]:2"], "forward *:1 [2001:21::1]:2"),
        (["forward", "127.0.0.1:1", "\(fingerprint):2"], "forward 127.0.0.1:1 [\(fingerprint)]:2"),
        (["socks", "1080"], "socks 1080"), (["socks", "localhost:1080"], "socks 1080"),
        (
            ["serve", "tcp", "22", "5432", "8000-8010", "--to", "laptop"],
            "serve tcp 22,5432,8000-8010 laptop 127.0.0.1"
        ),
        (["serve", "udp", "53", "--to", "a", "b", "--host", "::1", "--to", "*"], "serve udp 53 a,b,* ::1"),
        (["ping", "home"], "ping home 4"),
        (["ping", "HOME.natfwt.internal", "--count", "7"], "ping home.natfwt.internal 7"),
        (["nodes"], "nodes"), (["nodes", "--json"], "nodes --json"),
    ]

    @Test(arguments: requests) func request(arguments: [String], text: String) throws {
        let site = try Self.site(lines: "a line\n", ends: true)
        defer { site.end() }
        let child = try Self.start(site, arguments)
        let lasts = !["ping", "nodes"].contains(arguments[0])
        // What lasts is asked for again where the agent comes back.
        if lasts {
            try site.runner.run("it is asked again: \(child.log)") { site.program.asked.count == 2 }
            child.signal(SIGTERM)
        }
        #expect(try Self.end(child, site) == 0, "\(child.log)")
        #expect(Set(site.program.asked) == [text])
        #expect(child.output.contains("a line\n"))
        #expect(child.output.contains("Ctrl-C ends it") == lasts)
        #expect(child.errors.contains("the agent has stopped; waiting until it is back\n") == lasts)
    }

    @Test(arguments: [
        (["forward", "15432"], "expected [BIND:]PORT NODE:PORT"),
        (["forward", "15432", "home"], "expected a node and its port"),
        (["forward", "0:home:1"], "expected a port such as"),
        (["forward", "--", "-1", "home:1"], "expected a port such as"),
        (["socks", "home:1080"], "expected a port such as"), (["socks", "1080", "--user", "me"], "go together"),
        (["socks", "1080", "--user", "a:b", "--password-file", "-"], "a user name of 1 to 255"),
        (["serve", "tcp", "22"], "who may reach it?"), (["serve", "tcp", "0", "--to", "a"], "\"0\": expected a port"),
        (["serve", "tcp", "22", "--to", "A"], "\"A\": expected a node"),
        (["serve", "tcp", "--to", "a"], "Missing expected"),
        (["serve", "sctp", "22", "--to", "a"], "sctp"), (["ping", "ho me"], "expected a node"),
        (["ping", "home", "--count", "0"], "--count takes"), (["ping"], "Missing expected"),
    ]) func wrongCommand(arguments: [String], message: String) throws {
        let site = try Self.site()
        defer { site.end() }
        let child = try Self.start(site, arguments, socket: false)
        #expect(try Self.end(child, site) == 64, "\(child.log)")
        #expect(child.errors.contains(message))
        #expect(site.program.asked.isEmpty)
    }

    @Test(arguments: [SIGINT, SIGTERM]) func signalIsAGoodEnd(number: Int32) throws {
        let site = try Self.site()
        defer { site.end() }
        let child = try Self.start(site, ["forward", "15432", "home:5432"])
        try site.runner.run("it listens") { child.output.contains("Ctrl-C") }
        #expect(child.output == "listening on 127.0.0.1:15432 and [::1]:15432 for home:5432; Ctrl-C ends it\n")
        child.signal(number)
        #expect(try Self.end(child, site) == 0)
        try site.runner.run("the agent knows") { site.program.begun.first?.isOver == true }
    }

    /// An agent that stops is waited for, and what it says when it is back counts.
    @Test func returningAgent() throws {
        let site = try Self.site(ends: true)
        defer { site.end() }
        let child = try Self.start(site, ["forward", "15432", "home:5432"])
        try site.runner.run("it has begun") { child.output.contains("Ctrl-C") }
        site.server.close()
        try site.runner.run("it waits: \(child.log)") { child.errors.contains("waiting until it is back") }
        let returned = try AdministrationServer(
            loop: site.runner.loop, path: site.path, delegate: site.program, logger: MemoryLog().logger)
        defer { returned.close() }
        site.program.begin = { _, conversation in
            conversation.refuse(.refused("not any more"))
            return true
        }
        #expect(try Self.end(child, site) == 77, "\(child.log)")
        #expect(child.errors.hasSuffix("natfwt: error: not any more\n"))
    }

    @Test(arguments: [
        (AgentAnswer.unavailable("the port is in use"), Int32(69), "the port is in use"),
        (.refused("home does not serve 1 to this node"), 77, "home does not serve 1 to this node"),
    ]) func failure(answer: AgentAnswer, status: Int32, message: String) throws {
        for arguments in [["forward", "1", "home:1"], ["ping", "home"], ["nodes"]] {
            let site = try Self.site(answer, ends: true)
            defer { site.end() }
            let child = try Self.start(site, arguments)
            #expect(try Self.end(child, site) == status)
            #expect(child.errors == "natfwt: error: \(message)\n" && child.output.isEmpty)
        }
    }

    /// What goes wrong later on.
    @Test func lateFailure() throws {
        let site = try Self.site(lines: "one\nerror: refused: no more\n", ends: true)
        defer { site.end() }
        let child = try Self.start(site, ["ping", "home"])
        #expect(try Self.end(child, site) == 77)
        #expect(child.output == "one\n" && child.errors == "natfwt: error: no more\n")
    }

    @Test(arguments: [
        ["forward", "1", "home:1"], ["socks", "1"], ["serve", "tcp", "1", "--to", "a"], ["ping", "a"], ["nodes"],
    ])
    func noAgent(arguments: [String]) throws {
        let site = try Self.site()
        defer { site.end() }
        site.server.close()
        let child = try Self.start(site, arguments)
        #expect(try Self.end(child, site) == 69)
        #expect(
            child.errors.hasPrefix(
                "natfwt: error: no agent runs here: start it (natfwt agent), or systemctl start natfwt-agent"))
    }

    /// A program that knows nothing of it, such as an older one.
    @Test func olderAgent() throws {
        let site = try Site()
        defer { site.end() }
        let child = try Self.start(site, ["nodes"])
        #expect(try Self.end(child, site) == 69)
        #expect(child.errors == "natfwt: error: unknown request\n")
    }

    // MARK: Passwords

    @Test(arguments: [true, false]) func password(byInput: Bool) throws {
        let site = try Self.site(ends: true)
        defer { site.end() }
        let file = site.folder["password"]
        try "se cret\r\nanother line\n".write(toFile: file, atomically: true, encoding: .utf8)
        chmod(file, 0o600)
        let child = try Self.start(
            site, ["socks", "1080", "--user", "me", "--password-file", byInput ? "-" : file],
            input: byInput ? file : "/dev/null")
        try site.runner.run("it waits: \(child.log)") { child.errors.contains("waiting until it is back") }
        child.signal(SIGINT)
        #expect(try Self.end(child, site) == 0, "\(child.log)")
        let credentials = SOCKSCredentials(user: "me", password: "se cret")
        let listener = SOCKSListener(listen: ListenText.parse("1080") ?? [], credentials: credentials)
        let asked = try #require(site.program.asked.first)
        #expect(try AgentRequest(text: asked) == .socks(listener))
    }

    @Test func carelessness() throws {
        let site = try Self.site(.unavailable("not now"), ends: true)
        defer { site.end() }
        let file = site.folder["password"]
        try "x".write(toFile: file, atomically: true, encoding: .utf8)
        chmod(file, 0o644)
        var child = try Self.start(site, ["socks", "1080", "--user", "me", "--password-file", file])
        _ = try Self.end(child, site)
        #expect(child.errors.contains("every user of this host may read it"))
        child = try Self.start(site, ["socks", "*:1080"])
        _ = try Self.end(child, site)
        #expect(child.errors.contains("warning: who reaches *:1080"))
        child = try Self.start(site, ["socks", "1080", "--user", "me", "--password-file", site.folder["none"]])
        #expect(try Self.end(child, site) == 78)
    }

    // MARK: nodes

    @Test func nodesOfARelay() throws {
        let site = try Self.site(lines: "from the agent\n", ends: true)
        defer { site.end() }
        let state = site.folder["state"]
        let invite = try Self.start(
            site, ["invite", "home", "--state-directory", state, "--address", "127.0.0.1:1"], socket: false)
        #expect(try Self.end(invite, site) == 0, "\(invite.log)")
        for arguments in [["nodes"], ["nodes", "list"]] {
            let child = try Self.start(site, arguments + ["--state-directory", state], socket: false)
            #expect(try Self.end(child, site) == 0, "\(child.log)")
            #expect(child.output.hasPrefix("home  invited"))
        }
        let removed = try Self.start(site, ["nodes", "remove", "home", "--state-directory", state], socket: false)
        #expect(try Self.end(removed, site) == 0, "\(removed.log)")
        #expect(site.program.asked.isEmpty)
    }
}
