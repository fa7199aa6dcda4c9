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

    /// Dials until it is over.
    private func race(
        _ runner: LoopRunner, _ targets: [HostAndPort], timeout: Duration = .seconds(30), patience: Duration
    ) throws -> (Caller, took: Duration) {
        let caller = Caller()
        let dialer = Dialer(
            loop: runner.loop, targets: targets, timeout: timeout, patience: patience, readPool: runner.loop.buffers,
            delegate: caller)
        let begin = runner.loop.now
        dialer.start()
        try runner.run("an answer") { caller.isOver }
        return (caller, runner.loop.now - begin)
    }

    private func held(_ runner: LoopRunner, _ ip: IPAddress) throws -> HeldTCPPort {
        try HeldTCPPort(loop: runner.loop, address: TransportAddress(ip, port: 0))
    }

    /// An address that swallows everything (RFC 8305, 5).
    @Test func silentTargetCostsItsPatience() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let silent = try held(runner, .loopbackV6)
        let server = try TestServer(runner.loop)
        let targets = [
            HostAndPort(host: "::1", port: silent.address.port), HostAndPort(host: "127.0.0.1", port: server.port),
        ]
        let (caller, took) = try race(runner, targets, patience: HappyEyeballs.delay)
        #expect(caller.streams.first?.remoteAddress?.port == server.port)
        #expect(took >= HappyEyeballs.delay && took < .seconds(10), "\(took)")
        runner.settle()
        #expect(server.peers.count == 1 && caller.streams.count == 1 && caller.failures.isEmpty)
    }

    /// A name with two addresses, of which the first swallows everything: no patience is needed for the second.
    @Test func silentAddressOfANameCostsOneDelay() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        var found: [TransportAddress] = []
        let port = try freePort(runner.loop)
        Resolver.resolve(loop: runner.loop, HostAndPort(host: "localhost", port: port)) {
            found = (try? $0.get()) ?? [TransportAddress(.loopbackV4, port: port)]
        }
        try runner.run("localhost's addresses") { !found.isEmpty }
        // Not every host has both families for it.
        guard let second = found.dropFirst().first else { return }
        let silent = try HeldTCPPort(loop: runner.loop, address: found[0])
        let server = try TestServer(runner.loop, ip: second.ip, port: port)
        let targets = [HostAndPort(host: "localhost", port: port)]
        let (caller, took) = try race(runner, targets, patience: .seconds(60))
        #expect(caller.streams.first?.remoteAddress == second)
        #expect(took >= HappyEyeballs.delay && took < .seconds(20), "\(took)")
        runner.settle()
        #expect(server.peers.count == 1)
        silent.close()
    }

    /// Whoever answers while another one is tried as well.
    @Test func firstMayWinAfterTheSecondHasBegun() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let (first, second) = (try held(runner, .loopbackV6), try held(runner, .loopbackV4))
        let targets = [
            HostAndPort(host: "::1", port: first.address.port),
            HostAndPort(host: "127.0.0.1", port: second.address.port),
        ]
        let caller = Caller()
        let dialer = Dialer(
            loop: runner.loop, targets: targets, timeout: .seconds(30), patience: .milliseconds(20),
            readPool: runner.loop.buffers, delegate: caller)
        dialer.start()
        try runner.run("the second one's turn") { dialer.target == targets[1] }
        // Whoever listens there now gets the SYN when it is sent again.
        first.close()
        let late = try TestServer(runner.loop, ip: .loopbackV6, port: first.address.port)
        try runner.run("an answer") { caller.isOver }
        #expect(caller.streams.first?.remoteAddress?.port == late.port && dialer.target == targets[0])
        second.close()
        runner.settle()
        #expect(caller.streams.count == 1 && caller.failures.isEmpty)
    }

    /// All that swallow everything: their times run beside each other, and each is told.
    @Test func timeoutsAreTold() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let ports = try (0..<4).map { _ in try held(runner, .loopbackV4) }
        let targets = ports.map { HostAndPort(host: "127.0.0.1", port: $0.address.port) }
        let (caller, took) = try race(runner, targets, timeout: .seconds(2), patience: .milliseconds(50))
        #expect(took >= .seconds(2) && took < .seconds(8), "\(took)")
        let reasons = try #require(caller.failures.first)
        #expect(reasons.count == 4)
        for (port, reason) in zip(ports, reasons) {
            #expect(reason.contains("\(port.address)") && reason.contains("timed out"), "\(reason)")
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
