// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import TestSupport
import Testing

@testable import Administration

@Suite struct AdministrationTests {
    @Test func oneQuestionOneAnswer() throws {
        let site = try Site()
        defer { site.end() }
        site.program.answer = { "you said \($0)\n" }
        #expect(try site.ask("status") == "you said status\n")
        #expect(try site.ask("status --json") == "you said status --json\n")
        #expect(try site.ask("") == "you said \n")
        #expect(site.program.asked == ["status", "status --json", ""])
    }

    @Test func unknownRequest() throws {
        let site = try Site()
        defer { site.end() }
        #expect(try site.ask("nonsense") == "error: unknown request\n")
    }

    @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 8 << 20]) func answersOfAnySize(size: Int) throws {
        let site = try Site()
        defer { site.end() }
        let text = String(repeating: "x", count: size)
        site.program.answer = { _ in text }
        #expect(try site.ask("status") == text)
    }

    @Test func manyAtOnce() throws {
        let site = try Site()
        defer { site.end() }
        site.program.answer = { "<\($0)>" }
        let answers = (0..<20).map { Answer("\($0)", path: site.path) }
        try site.runner.run("all answers") { answers.allSatisfy { $0.value != nil } }
        for (number, answer) in answers.enumerated() { #expect(try answer.value?.get() == "<\(number)>") }
    }

    /// A line that has no end is not waited for.
    @Test func longRequest() throws {
        let site = try Site()
        defer { site.end() }
        let peer = TestPeer()
        let stream = try TCPStream.connectUnix(
            loop: site.runner.loop, path: site.path, readPool: site.runner.loop.buffers, delegate: peer)
        peer.adopt(stream)
        peer.send(String(repeating: "x", count: 10_000))
        try site.runner.run("the end") { peer.isOver }
        #expect(site.program.asked.isEmpty)
        #expect(peer.received.isEmpty)
    }

    /// A line that comes in pieces, and one that ends with the connection.
    @Test(arguments: [["st", "at", "us\n"], ["status\n", "more\n"], ["status"], ["status\nmore"]])
    func pieces(pieces: [String]) throws {
        let site = try Site()
        defer { site.end() }
        site.program.answer = { "<\($0)>" }
        let peer = TestPeer()
        let stream = try TCPStream.connectUnix(
            loop: site.runner.loop, path: site.path, readPool: site.runner.loop.buffers, delegate: peer)
        peer.adopt(stream)
        for piece in pieces {
            peer.send(piece)
            site.runner.settle(turns: 2)
        }
        if !pieces.joined().contains("\n") { peer.finish() }
        try site.runner.run("the answer") { peer.isOver }
        #expect(peer.text == "<status>")
        #expect(site.program.asked == ["status"])
    }

    @Test func nobodyListens() throws {
        let folder = try TemporaryFolder()
        #expect(throws: UVError.self) { try AdministrationClient.ask("status", path: folder["admin.sock"]) }
        let site = try Site()
        site.end()
        #expect(!FileManager.default.fileExists(atPath: site.path), "the file goes with the server")
        let late = Answer("status", path: site.path)
        try site.runner.run("a failure") { late.value != nil }
        #expect(throws: UVError.self) { try late.value?.get() }
    }

    /// A file that a killed program has left is no reason not to start.
    @Test func fileOfADeadProgram() throws {
        let folder = try TemporaryFolder()
        let path = folder["admin.sock"]
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        try #require(bound == 0)
        #expect(throws: UVError.connectionRefused) { try AdministrationClient.ask("status", path: path) }
        let runner = try LoopRunner()
        defer { runner.end() }
        let program = Program()
        program.answer = { $0 }
        let server = try AdministrationServer(
            loop: runner.loop, path: path, delegate: program, logger: MemoryLog().logger)
        let answer = Answer("status", path: path)
        try runner.run("an answer") { answer.value != nil }
        #expect(try answer.value?.get() == "status")
        server.close()
    }
}

@Suite struct StateDirectoryTests {
    @Test func foldersAreMade() throws {
        let folder = try TemporaryFolder()
        let path = folder["a/b/c"]
        #expect(try StateDirectory.prepare(path) == path)
        #expect(try StateDirectory.prepare(path) == path, "what is there is left alone")
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o700)
    }

    @Test func failureSaysWhat() throws {
        let folder = try TemporaryFolder()
        try Data().write(to: URL(fileURLWithPath: folder["file"]))
        #expect(throws: StateDirectory.Failure.self) { try StateDirectory.prepare(folder["file/below"]) }
    }
}
