// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import TestSupport
import Testing

@testable import Administration

@Suite struct ConversationTests {
    @Test func programEnds() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.answer(.ok)
            return true
        }
        let talker = Talker("ping home 2", path: site.path)
        try site.runner.run("the first line") { talker.lines == ["ok"] }
        let conversation = try #require(site.program.begun.first)
        conversation.send("one\n")
        try site.runner.run("a piece as it comes") { talker.lines == ["ok", "one"] }
        conversation.send("two\nth")
        conversation.send("ree\nwithout an end")
        var ends = 0
        conversation.onEnd = { ends += 1 }
        conversation.end()
        conversation.send("too late\n")
        try site.runner.run("the end") { talker.end != nil }
        #expect(try talker.end?.get() == .program)
        #expect(talker.lines == ["ok", "one", "two", "three", "without an end"])
        #expect(ends == 0, "who ends is not told")
        #expect(site.program.asked == ["ping home 2"])
    }

    /// What was said before the end arrives, however much it is.
    @Test func muchBeforeTheEnd() throws {
        let site = try Site()
        defer { site.end() }
        let line = String(repeating: "é", count: 499)
        site.program.begin = { _, conversation in
            conversation.answer(.ok)
            conversation.send(String(repeating: line + "\n", count: 2_000))
            conversation.end()
            return true
        }
        let talker = Talker("nodes", path: site.path)
        try site.runner.run("the end") { talker.end != nil }
        #expect(try talker.end?.get() == .program)
        #expect(talker.lines.count == 2_001 && talker.lines.dropFirst().allSatisfy { $0 == line })
    }

    @Test(arguments: [true, false]) func clientEnds(byHalfClose: Bool) throws {
        let site = try Site()
        defer { site.end() }
        var ends = 0
        site.program.begin = { _, conversation in
            conversation.onEnd = { ends += 1 }
            conversation.answer(.ok)
            return true
        }
        let peer = try site.peer("forward 1 home:1\nmore that nobody reads\n")
        try site.runner.run("the first line") { peer.text == "ok\n" }
        peer.send("and more")
        site.runner.settle(turns: 3)
        #expect(ends == 0)
        if byHalfClose { peer.finish() } else { peer.close() }
        try site.runner.run("the end") { ends > 0 }
        site.runner.settle(turns: 3)
        #expect(ends == 1)
        let conversation = try #require(site.program.begun.first)
        #expect(conversation.isOver)
        conversation.send("nobody hears it\n")
        conversation.end()
        site.runner.settle(turns: 3)
        #expect(ends == 1 && peer.text == "ok\n")
    }

    /// A process that is killed leaves nothing behind.
    @Test(.enabled(if: Natfwt.isBuilt, "needs the natfwt program")) func clientIsKilled() throws {
        let site = try Site()
        defer { site.end() }
        var ends = 0
        site.program.begin = { _, conversation in
            conversation.onEnd = { ends += 1 }
            conversation.answer(.ok)
            return true
        }
        let child = try Child(
            "killed", [Natfwt.binary, "forward", "15432", "home:1", "--socket", site.path], directory: site.folder.path)
        try site.runner.run("a conversation") { !site.program.begun.isEmpty }
        child.signal(SIGKILL)
        try site.runner.run("its end") { ends > 0 }
        try site.runner.run("the child's end") { !child.isRunning }
        site.runner.settle(turns: 3)
        #expect(ends == 1)
    }

    @Test func signalEnds() throws {
        let site = try Site()
        defer { site.end() }
        var ends = 0
        site.program.begin = { _, conversation in
            conversation.onEnd = { ends += 1 }
            conversation.answer(.ok)
            return true
        }
        let talker = Talker("socks 1080", path: site.path, signals: [SIGUSR2])
        try site.runner.run("the first line") { talker.lines == ["ok"] }
        kill(getpid(), SIGUSR2)
        try site.runner.run("the end") { talker.end != nil && ends > 0 }
        #expect(try talker.end?.get() == .signal(SIGUSR2))
    }

    @Test func requestThatNobodyKnows() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.onEnd = { Issue.record("told of the end of what did not begin") }
            return false
        }
        #expect(try site.ask("nonsense") == "error: unknown request\n")
        site.runner.settle(turns: 3)
        // One who has ended already can't stay.
        site.program.begin = { _, _ in
            Issue.record("begun for one who is not there")
            return true
        }
        let peer = try site.peer("ping home 1")
        peer.finish()
        try site.runner.run("the answer") { peer.isOver }
        #expect(peer.text == "error: unknown request\n")
    }

    @Test func refusalWithinBegin() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.refuse(.refused("not\nyou"))
            return true
        }
        let talker = Talker("serve", path: site.path)
        try site.runner.run("the end") { talker.end != nil }
        #expect(talker.lines == ["error: refused: not you"])
        #expect(AgentAnswer(line: talker.lines[0])?.failure?.status == .refused)
    }

    // MARK: Bounds

    @Test func tooMany() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.answer(.ok)
            return true
        }
        site.program.answer = { $0 == "status" ? "well\n" : nil }
        let most = AdministrationConversation.most
        let peers = try (0..<most).map { _ in try site.peer("forward\n") }
        try site.runner.run("all of them") { peers.allSatisfy { $0.text == "ok\n" } }
        #expect(try site.ask("forward")?.hasPrefix("error: \(most) conversations are open") == true)
        #expect(try site.ask("status") == "well\n", "questions are answered as ever")
        #expect(site.program.begun.count == most)
        peers[0].close()
        site.program.begun[1].end()
        try site.runner.run("the end of one") { peers[1].isOver }
        site.runner.settle(turns: 3)
        let more = try (0..<2).map { _ in try site.peer("forward\n") }
        try site.runner.run("room for others") { more.allSatisfy { $0.text == "ok\n" } }
    }

    /// Who reads nothing is not waited for, and does not fill the memory.
    @Test func clientReadsNothing() throws {
        let site = try Site()
        defer { site.end() }
        var ends = 0
        site.program.begin = { _, conversation in
            conversation.onEnd = { ends += 1 }
            return true
        }
        let peer = try site.peer("ping home 1000000\n")
        try site.runner.run("a conversation") { !site.program.begun.isEmpty }
        peer.stopReading()
        let conversation = try #require(site.program.begun.first)
        let text = String(repeating: "x", count: 1 << 20) + "\n"
        var sent = 0
        while !conversation.isOver, sent < 100 {
            conversation.send(text)
            if conversation.isOver { #expect(ends == 0, "not within a call of the owner's") }
            sent += 1
            site.runner.settle(turns: 1)
        }
        #expect(sent <= 6)
        try site.runner.run("the end is told") { ends > 0 }
        site.runner.settle(turns: 3)
        #expect(ends == 1)
    }

    /// An end that its owner brings about in the same turn is not told.
    @Test func overflowAndEnd() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.onEnd = { Issue.record("told") }
            conversation.send(String(repeating: "x", count: AdministrationConversation.mostQueued + 1))
            conversation.end()
            return true
        }
        let peer = try site.peer("nodes\n")
        try site.runner.run("the end") { peer.isOver }
        #expect(peer.received.isEmpty)
    }

    @Test(arguments: ["a\nb", String(repeating: "x", count: AdministrationServer.longestRequest + 1)])
    func requestThatIsNone(text: String) throws {
        let folder = try TemporaryFolder()
        #expect(throws: UVError.invalidArgument) {
            try AdministrationClient.converse(text, path: folder["admin.sock"]) { _ in }
        }
    }

    @Test func longestRequest() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, conversation in
            conversation.refuse(.ok)
            return true
        }
        let text = String(repeating: "x", count: AdministrationServer.longestRequest)
        let talker = Talker(text, path: site.path)
        try site.runner.run("the answer") { talker.end != nil }
        #expect(site.program.asked == [text] && talker.lines == ["ok"])
    }

    @Test func programThatNeverAnswers() throws {
        let site = try Site()
        defer { site.end() }
        site.program.begin = { _, _ in true }
        let talker = Talker("nodes", path: site.path, patience: .milliseconds(20))
        try site.runner.run("the end of patience") { talker.end != nil }
        #expect(throws: UVError.timedOut) { try talker.end?.get() }
        // Only the first line is waited for: what lasts may be silent.
        site.program.begin = { _, conversation in
            conversation.answer(.ok)
            return true
        }
        let other = Talker("forward", path: site.path, patience: .seconds(60))
        try site.runner.run("the first line") { other.lines == ["ok"] }
        site.program.begun.last?.end()
        try site.runner.run("the end") { other.end != nil }
        #expect(try other.end?.get() == .program)
    }

    /// The program's end is everybody's.
    @Test func programIsGone() throws {
        let site = try Site()
        site.program.begin = { _, conversation in
            conversation.answer(.ok)
            return true
        }
        let talker = Talker("forward", path: site.path)
        try site.runner.run("the first line") { talker.lines == ["ok"] }
        site.server.close()
        site.runner.settle(turns: 3)
        #expect(talker.end == nil, "the socket's end is not the program's")
        site.program.begun[0].send("still here\n")
        try site.runner.run("another line") { talker.lines.count == 2 }
        site.runner.end()
        let other = try LoopRunner()
        defer { other.end() }
        try other.run("the end") { talker.end != nil }
        #expect(try talker.end?.get() == .program)
    }
}
