// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Providers

/// Bytes through endpoints of both platforms, over real TLS on loopback.
@Suite struct TransferTests {
    /// Sends so many bytes of a pattern, as the room allows, then the end.
    private func pump(_ pattern: Pattern, _ total: Int, from pool: BufferPool) -> (Endpoint) -> Void {
        var sent = 0
        return { endpoint in
            while sent < total, endpoint.sendRoom > 0 {
                let count = min(65_536, total - sent)
                endpoint.send(pattern.slice(at: sent, count: count, from: pool))
                sent += count
            }
            if sent == total { endpoint.finishSending() }
        }
    }

    @Test func manyBytesBothWays() throws {
        let total = 64 << 20
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        let (there, back) = (Pattern(seed: 11), Pattern(seed: 12))
        ends.acceptor.onAccepted = { application in
            application.keeps = false
            application.pattern = there
            application.onRoom = pump(back, total, from: ends.loop.buffers)
        }
        let visitor = TestApplication()
        visitor.keeps = false
        visitor.pattern = back
        visitor.onRoom = pump(there, total, from: ends.loop.buffers)
        let endpoint = try ends.relay.open(visitor)
        visitor.onRoom(endpoint)
        try ends.runner.run("\(total) bytes both ways", within: .seconds(300)) {
            // The visitor has finished when its last bytes are under way.
            visitor.end != nil && ends.acceptor.applications.first?.end != nil
        }
        let service = try #require(ends.acceptor.applications.first)
        #expect(visitor.end == .finished)
        #expect(visitor.count == total && visitor.isIntact)
        #expect(service.count == total && service.isIntact)
        #expect(service.end == .finished)
        try ends.runner.run("buffers that are given back") {
            ends.loop.buffers.leased == 0 && ends.loop.carrierBuffers.leased == 0
        }
        #expect(ends.agent.isActive)
    }

    @Test func datagramsAndTheirVisitor() throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        ends.acceptor.onAccepted = { $0.onReceived = { $0.send(ends.loop.slice([9, 9, 9])) } }
        let visitor = TestApplication()
        let endpoint = try ends.relay.open(visitor, kind: .datagram, port: 53)
        endpoint.send(ends.loop.slice([1, 2, 3]))
        endpoint.send(ends.loop.slice([4]))
        try ends.runner.run("two answers") { visitor.received.count == 6 }
        let service = try #require(ends.acceptor.applications.first)
        #expect(service.received == [1, 2, 3, 4])
        #expect(service.endpoint?.source == TransportAddress("192.0.2.7:1234"))
        #expect(service.endpoint?.destination.port == 53)
        endpoint.finishSending()
        try ends.runner.run("the flow's end") { service.end != nil }
    }

    @Test(arguments: [EndpointResetCode.refused, .unreachable, .timedOut, .reset, .limit, .notAllowed])
    func refusalsAndResetsArrive(code: EndpointResetCode) throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        ends.acceptor.refusal = code
        let refused = TestApplication()
        _ = try ends.relay.open(refused)
        try ends.runner.run("a refusal") { refused.end != nil }
        #expect(refused.end == .reset(code))
        ends.acceptor.refusal = nil
        let visitor = TestApplication()
        let endpoint = try ends.relay.open(visitor)
        try ends.runner.run("an endpoint") { visitor.isOpen }
        endpoint.reset(code)
        let service = try #require(ends.acceptor.applications.first)
        try ends.runner.run("a reset") { service.end != nil }
        #expect(service.end == .reset(code))
        #expect(visitor.end == .reset(code))
    }

    @Test func endpointsEndWithTheirSession() throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        let visitor = TestApplication()
        _ = try ends.relay.open(visitor)
        try ends.runner.run("an endpoint") { visitor.isOpen }
        ends.relay.stream?.reset()
        _ = try ends.termination()
        let service = try #require(ends.acceptor.applications.first)
        #expect(service.end == .sessionTerminated(.otherCommunicationError))
    }

    /// TCP may cut a record anywhere: each record goes through in two segments, cut one byte later than the one before.
    @Test func recordsCutAtEachByte() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let relay = try RelayEnd(runner.loop)
        let cutter = try RecordCutter(runner.loop, to: relay.server.port)
        let node = TestNode()
        var configuration = try relay.configuration(node)
        configuration.addresses = [HostAndPort(host: "127.0.0.1", port: cutter.server.port)]
        let agent = TestAgent(runner.loop, node, configuration)
        let acceptor = TestAcceptor()
        acceptor.onAccepted = { application in
            application.onReceived = { endpoint in
                let bytes = application.received
                endpoint.send(runner.loop.slice(Array(bytes.suffix(20))))
            }
        }
        defer {
            agent.platform.shutdown(now: runner.loop.now)
            relay.platform.shutdown(now: runner.loop.now)
            acceptor.clear()
            cutter.clear()
        }
        agent.platform.acceptor = acceptor
        try agent.start()
        try runner.run("a session") { agent.isActive }
        let visitor = TestApplication()
        let endpoint = try relay.open(visitor)
        var random = SeededRandom(5)
        var expected: [UInt8] = []
        for message in 0..<150 {
            let bytes = random.bytes(20)
            expected += bytes
            endpoint.send(runner.loop.slice(bytes))
            try runner.run("the echo of message \(message)") { visitor.received.count == expected.count }
        }
        #expect(visitor.received == expected)
        // 20 bytes behind a frame's header of 8, in a record of 5 + 1 + 16.
        let every = Set(1..<50)
        #expect(every.isSubset(of: cutter.cuts))
        #expect(agent.isActive)
    }
}

extension TransferTests {
    /// Stands between two ends of TLS, and passes each record on in two pieces.
    private final class RecordCutter {
        let server: TestServer
        private(set) var cuts: Set<Int> = []
        private var ways: [Way] = []

        init(_ loop: EventLoop, to port: UInt16) throws {
            server = try TestServer(loop)
            server.takes = { [unowned self] stream, _ in
                guard let far = try? TestPeer.connect(loop, port) else { return }
                let near = TestPeer()
                near.adopt(stream)
                ways = [Way(loop, near, far, self), Way(loop, far, near, self)]
            }
        }

        /// The two peers hold each other.
        func clear() {
            for way in ways { way.clear() }
            ways = []
        }

        fileprivate func noteCut(_ place: Int) { cuts.insert(place) }
    }

    private final class Way: TurnEndTask {
        private let loop: EventLoop
        private let source: TestPeer
        private let target: TestPeer
        private unowned let cutter: RecordCutter
        private var taken = 0
        private var turns = 0
        private var records = 0
        private var pieces: [[UInt8]] = []
        private var isScheduled = false

        init(_ loop: EventLoop, _ source: TestPeer, _ target: TestPeer, _ cutter: RecordCutter) {
            self.loop = loop
            self.source = source
            self.target = target
            self.cutter = cutter
            source.onReceived = { [unowned self] in cut($0.received) }
            source.onEnd = { _ in target.finish() }
        }

        func clear() {
            source.onReceived = { _ in }
            source.onEnd = { _ in }
        }

        private func cut(_ bytes: [UInt8]) {
            while bytes.count >= taken + 5 {
                let length = 5 + Int(bytes[taken + 3]) << 8 + Int(bytes[taken + 4])
                guard bytes.count >= taken + length else { break }
                let record = Array(bytes[taken..<taken + length])
                taken += length
                records += 1
                let place = records % length
                if length == 50, place > 0 { cutter.noteCut(place) }
                pieces += [Array(record[..<place]), Array(record[place...])].filter { !$0.isEmpty }
            }
            schedule()
        }

        private func schedule() {
            guard !isScheduled, !pieces.isEmpty else { return }
            isScheduled = true
            loop.atTurnEnd(self)
        }

        /// One piece every fourth turn, so that each is read before the next is written.
        func turnEnded() {
            isScheduled = false
            turns += 1
            if turns % 4 == 0 { target.send(pieces.removeFirst()) }
            schedule()
        }
    }
}
