// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Providers

@Suite struct DialerTests {
    private final class Caller: DialerDelegate {
        var streams: [TCPStream] = []
        var failures: [[String]] = []
        func dialer(_ dialer: Dialer, connected stream: TCPStream) {
            streams.append(stream)
            stream.delegate = TestPeer()
        }
        func dialer(_ dialer: Dialer, failed reasons: [String]) { failures.append(reasons) }
        var isOver: Bool { streams.count + failures.count > 0 }
    }

    private enum Target { case listening, refusing, unresolvable }

    private func dial(_ targets: [Target]) throws -> (Caller, ports: [UInt16], reached: UInt16?) {
        let runner = try LoopRunner()
        defer { runner.end() }
        var servers: [TestServer] = []
        let hosts = try targets.map { target -> HostAndPort in
            switch target {
            case .unresolvable: return HostAndPort(host: "no such name", port: 1)
            case .refusing: return HostAndPort(host: "127.0.0.1", port: try freePort(runner.loop))
            case .listening:
                let server = try TestServer(runner.loop)
                servers.append(server)
                return HostAndPort(host: "127.0.0.1", port: server.port)
            }
        }
        let caller = Caller()
        let dialer = Dialer(
            loop: runner.loop, targets: hosts, timeout: .seconds(30), readPool: runner.loop.buffers, delegate: caller)
        dialer.start()
        try runner.run("an answer") { caller.isOver }
        let reached = caller.streams.first?.remoteAddress?.port
        runner.settle()
        #expect(caller.streams.count + caller.failures.count == 1, "told once")
        return (caller, hosts.map(\.port), reached)
    }

    @Test func firstThatAnswers() throws {
        let (_, ports, reached) = try dial([.listening, .listening])
        #expect(reached == ports[0])
    }

    @Test func refusedThenAnswered() throws {
        let (_, ports, reached) = try dial([.refusing, .refusing, .listening])
        #expect(reached == ports[2])
    }

    @Test func unknownNameThenAnswered() throws {
        let (_, ports, reached) = try dial([.unresolvable, .listening])
        #expect(reached == ports[1])
    }

    @Test func everyFailureIsTold() throws {
        let (caller, ports, reached) = try dial([.refusing, .unresolvable, .refusing])
        #expect(reached == nil)
        let reasons = try #require(caller.failures.first)
        #expect(reasons.count == 3)
        #expect(reasons[0].contains("127.0.0.1:\(ports[0])") && reasons[0].contains("refused"))
        #expect(reasons[1].contains("no such name"))
        #expect(reasons[2].contains("127.0.0.1:\(ports[2])"))
    }

    @Test func nowhereToGo() throws {
        let (caller, _, _) = try dial([])
        #expect(caller.failures == [[]])
    }

    /// Three hundred addresses that fail at once do not pile up on the stack.
    @Test func manyFailures() throws {
        let (caller, _, _) = try dial([Target](repeating: .unresolvable, count: 300))
        #expect(caller.failures.first?.count == 300)
    }

    @Test func nothingAfterCancel() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let server = try TestServer(runner.loop)
        let caller = Caller()
        let targets = [HostAndPort(host: "127.0.0.1", port: server.port)]
        for turns in 0..<4 {
            let dialer = Dialer(
                loop: runner.loop, targets: targets, timeout: .seconds(30), readPool: runner.loop.buffers,
                delegate: caller)
            dialer.start()
            runner.settle(turns: turns)
            if caller.isOver { break }
            dialer.cancel()
            runner.settle()
            #expect(!caller.isOver, "cancelled after \(turns) turns")
        }
    }

    /// What the session is told where no address answers.
    @Test func sessionIsToldWhy() throws {
        let ends = try TunnelEnds { $0.addresses.insert(HostAndPort(host: "no such name", port: 9), at: 0) }
        defer { ends.end() }
        ends.relay.server.close()
        try ends.agent.start()
        let record = try ends.termination()
        #expect(record.reason == .otherCommunicationError)
        #expect(record.message.contains("no such name") && record.message.contains("refused"))
    }
}
