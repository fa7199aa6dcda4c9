// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import Synchronization
import TestSupport

@testable import Administration

/// Answers as the test says.
final class Program: AdministrationDelegate {
    var asked: [String] = []
    var answer: (String) -> String? = { _ in nil }
    var begun: [AdministrationConversation] = []
    var begin: (String, AdministrationConversation) -> Bool = { _, _ in false }

    func administration(answers request: String) -> String? {
        asked.append(request)
        return answer(request)
    }

    func administration(begins request: String, _ conversation: AdministrationConversation) -> Bool {
        guard begin(request, conversation) else { return false }
        begun.append(conversation)
        return true
    }
}

/// A program with its admin socket.
struct Site {
    let runner: LoopRunner
    let folder: TemporaryFolder
    let program = Program()
    let server: AdministrationServer
    var path: String { folder["admin.sock"] }

    init() throws {
        runner = try LoopRunner()
        folder = try TemporaryFolder()
        server = try AdministrationServer(
            loop: runner.loop, path: folder["admin.sock"], delegate: program, logger: MemoryLog().logger)
    }

    func ask(_ request: String) throws -> String? {
        let answer = Answer(request, path: path)
        try runner.run("an answer") { answer.value != nil }
        return try answer.value?.get()
    }

    /// One that has asked, on the same loop.
    func peer(_ request: String) throws -> TestPeer {
        let peer = TestPeer()
        peer.adopt(
            try TCPStream.connectUnix(loop: runner.loop, path: path, readPool: runner.loop.buffers, delegate: peer))
        peer.send(request)
        return peer
    }

    func end() {
        server.close()
        runner.end()
    }
}

/// What another thread was answered.
final class Answer: Sendable {
    private let stored = Mutex<Result<String, UVError>?>(nil)
    var value: Result<String, UVError>? { stored.withLock { $0 } }

    /// Asks in a thread of its own: the client runs a loop, and waits.
    init(_ request: String, path: String) {
        Thread.detachNewThread { [self] in
            let result: Result<String, UVError>
            do throws(UVError) {
                result = .success(try AdministrationClient.ask(request, path: path))
            } catch { result = .failure(error) }
            stored.withLock { $0 = result }
        }
    }
}

/// A client in a conversation, in a thread of its own.
final class Talker: Sendable {
    private let heard = Mutex<[String]>([])
    private let ended = Mutex<Result<ConversationEnd, UVError>?>(nil)
    var lines: [String] { heard.withLock { $0 } }
    var end: Result<ConversationEnd, UVError>? { ended.withLock { $0 } }

    init(_ request: String, path: String, patience: Duration = .seconds(60), signals: [Int32] = []) {
        Thread.detachNewThread { [self] in
            let result: Result<ConversationEnd, UVError>
            do throws(UVError) {
                result = .success(
                    try AdministrationClient.converse(request, path: path, patience: patience, signals: signals) {
                        line in self.heard.withLock { $0.append(line) }
                    })
            } catch { result = .failure(error) }
            ended.withLock { $0 = result }
        }
    }
}
