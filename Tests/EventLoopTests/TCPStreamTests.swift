// SPDX-License-Identifier: Apache-2.0

@testable import EventLoop
import Glibc
import Primitives
import Testing

enum WriteMode: CaseIterable { case push, pull }

/// Sends a pattern of some length one way or the other, and checks what comes.
final class Traffic {
    let total: Int
    let pattern = Pattern()
    private(set) var sent = 0
    private(set) var written = 0
    private(set) var checked = 0
    private(set) var isIntact = true
    private let endsWithFIN: Bool
    private static let inFlight = 512 << 10

    init(_ total: Int, endsWithFIN: Bool = true) {
        self.total = total
        self.endsWithFIN = endsWithFIN
    }

    func push(_ stream: TCPStream, _ pool: BufferPool) {
        while sent < total, stream.queuedBytes < Traffic.inFlight {
            let count = min(40_000, total - sent)
            stream.write(pattern.slice(at: sent, count: count, from: pool))
            sent += count
        }
        if sent == total, endsWithFIN { stream.finishWriting() }
    }

    func wrote(_ count: Int) { written += count }

    func fill(_ output: inout OutputBuffer) {
        let count = min(output.room, total - sent)
        pattern.withBytes(at: sent, count: count) { output.append($0) }
        sent += count
    }

    func check(_ bytes: borrowing Slice) {
        isIntact = isIntact && pattern.matches(bytes.bytes, at: checked)
        checked += bytes.count
    }
}

/// Sends back what comes, in one of the two ways, and reads no more than it can send.
final class Echo {
    private var waiting = ByteRing()
    private let mode: WriteMode
    private var hasEnded = false

    init(_ peer: Peer, _ mode: WriteMode) {
        self.mode = mode
        peer.onReceived = { [unowned self] stream, bytes in self.received(stream, bytes) }
        peer.onWrote = { stream, _ in if stream.queuedBytes < 256 << 10 { stream.startReading() } }
        peer.onFill = { [unowned self] stream, output in self.fill(stream, &output) }
        peer.onEnd = { [unowned self] stream in
            self.hasEnded = true
            if self.mode == .push || self.waiting.isEmpty { stream.finishWriting() } else { stream.setNeedsOutput() }
        }
    }

    private func received(_ stream: TCPStream, _ bytes: consuming Slice) {
        switch mode {
        case .push:
            stream.write(bytes)
            if stream.queuedBytes > 1 << 20 { stream.stopReading() }
        case .pull:
            waiting.append(bytes.bytes)
            if waiting.count > 1 << 20 { stream.stopReading() }
            stream.setNeedsOutput()
        }
    }

    private func fill(_ stream: TCPStream, _ output: inout OutputBuffer) {
        let count = min(output.room, waiting.count)
        var copied = OutputBuffer(from: BufferPool(capacity: max(1, count), keepsAtMost: 0))
        waiting.withBytes(at: 0, count: count) { copied.append($0) }
        output.append(copied.bytes)
        waiting.removeFirst(count)
        if waiting.count < 256 << 10 { stream.startReading() }
        if hasEnded, waiting.isEmpty { stream.finishWriting() }
    }
}

@Suite struct TCPStreamTests {
    @Test(arguments: WriteMode.allCases, [IPAddress.loopbackV4, .loopbackV6])
    func echoes64MiB(mode: WriteMode, ip: IPAddress) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test, ip: ip)
        let traffic = Traffic(64 << 20)
        let echo = Echo(connection.there, mode)
        connection.here.onConnected = { stream in
            mode == .push ? traffic.push(stream, test.loop.buffers) : stream.setNeedsOutput()
            if mode == .pull { stream.finishWriting() }
        }
        connection.here.onWrote = { stream, count in
            traffic.wrote(count)
            traffic.push(stream, test.loop.buffers)
        }
        connection.here.onFill = { _, output in traffic.fill(&output) }
        connection.here.onReceived = { _, bytes in traffic.check(bytes) }
        connection.here.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(traffic.isIntact)
        #expect(traffic.checked == 64 << 20)
        #expect(traffic.written == (mode == .push ? 64 << 20 : 0))
        #expect(connection.there.ends == 1 && connection.here.failure == nil && connection.there.failure == nil)
        connection.close()
        test.settle()
        withExtendedLifetime(echo) {}
        #expect(test.loop.buffers.leased == 0 && test.loop.carrierBuffers.leased == 0)
    }

    /// Many small slices at once, more than one writev(2) and far more than the kernel takes: all arrive, in order.
    @Test(arguments: [1, 2, 3] as [UInt64]) func writesManySlices(seed: UInt64) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let traffic = Traffic(0, endsWithFIN: false)
        var random = SplitMix(state: seed)
        var (total, written) = (0, 0)
        connection.here.onConnected = { stream in
            for _ in 0..<3_000 {
                let count = Bool.random(using: &random) ? Int.random(in: 0...200, using: &random) : 5_000
                stream.write(traffic.pattern.slice(at: total, count: count, from: test.loop.buffers))
                total += count
            }
            #expect(stream.queuedBytes == total)
            stream.finishWriting()
            stream.write(test.loop.slice("behind the end"))
        }
        connection.here.onWrote = { stream, count in
            written += count
            #expect(stream.queuedBytes == total - written, "seed \(seed)")
        }
        connection.there.onReceived = { _, bytes in traffic.check(bytes) }
        connection.there.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(traffic.isIntact && traffic.checked == total && written == total, "seed \(seed)")
        #expect(connection.near.request == nil && connection.near.queue.isEmpty)
        connection.close()
    }

    /// The end goes one way while the other way goes on.
    @Test(arguments: [true, false]) func halfCloses(nearFirst: Bool) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let first = nearFirst ? connection.here : connection.there
        let second = nearFirst ? connection.there : connection.here
        let answer = 3 << 20
        let traffic = Traffic(answer)
        let begin = { (stream: TCPStream) in
            stream.write(test.loop.slice("all"))
            stream.finishWriting()
        }
        if nearFirst { connection.here.onConnected = begin } else { connection.door.onAccepted = { s, _ in begin(s) } }
        var asked = ""
        second.onReceived = { _, bytes in asked += bytes.text() }
        second.onEnd = { stream in traffic.push(stream, test.loop.buffers) }
        second.onWrote = { stream, _ in traffic.push(stream, test.loop.buffers) }
        first.onReceived = { _, bytes in traffic.check(bytes) }
        first.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(asked == "all")
        #expect(traffic.isIntact && traffic.checked == answer)
        #expect(first.ends == 1 && second.ends == 1)
        connection.close()
    }

    /// A RST is an error and not an end, also when it comes right behind data, which is delivered.
    @Test(arguments: [true, false], [0, 3, 50_000]) func resets(near: Bool, dataBefore: Int) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let victim = near ? connection.there : connection.here
        let traffic = Traffic(dataBefore, endsWithFIN: false)
        victim.onReceived = { _, bytes in traffic.check(bytes) }
        victim.onFailed = { _, _ in test.loop.stop() }
        connection.door.onAccepted = { far, _ in
            let source = near ? connection.near : far
            traffic.push(source, test.loop.buffers)
            // Behind the writing, and before the receiver has its turn.
            test.loop.atTurnEnd(AtTurnEnd { test.loop.atTurnEnd(AtTurnEnd { source.reset() }) })
        }
        test.run()
        #expect(victim.failure == .connectionReset)
        #expect(victim.ends == 0 && victim.callsAfterFailure == 0)
        #expect(traffic.isIntact && traffic.checked == dataBefore)
        connection.close()
        test.settle()
        #expect(test.loop.buffers.leased == 0)
    }

    /// A RST behind a FIN comes too late to take back what was received: the end is told, and the next write fails.
    @Test func endThenResetIsAnEnd() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        connection.door.onAccepted = { far, _ in
            far.write(test.loop.slice("bye"))
            far.finishWriting()
            test.loop.atTurnEnd(AtTurnEnd { test.loop.atTurnEnd(AtTurnEnd { far.reset() }) })
        }
        connection.here.onEnd = { $0.write(test.loop.slice("too late")) }
        connection.here.onFailed = { _, _ in test.loop.stop() }
        test.run()
        #expect(connection.here.received == 3 && connection.here.ends == 1)
        #expect(connection.here.failure?.isReset == true)
        connection.close()
    }

    /// What the peer said before it hung up is read, although writing to it fails first.
    @Test func lastWordsAreReadAfterAFailedWrite() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        connection.door.onAccepted = { far, _ in
            far.write(test.loop.slice("no"))
            test.loop.atTurnEnd(AtTurnEnd { test.loop.atTurnEnd(AtTurnEnd { far.reset() }) })
            // In the same turn's end, behind the RST and before anything is read.
            test.loop.atTurnEnd(
                AtTurnEnd {
                    test.loop.atTurnEnd(
                        AtTurnEnd { test.loop.atTurnEnd(AtTurnEnd { connection.near.write(test.loop.slice("more")) }) })
                })
        }
        connection.here.onFailed = { _, _ in test.loop.stop() }
        test.run()
        #expect(connection.here.received == 2)
        #expect(connection.here.failure?.isReset == true)
        connection.close()
    }

    @Test func refusedConnectionFails() throws {
        let test = try TestLoop()
        defer { test.end() }
        let peer = test.peer()
        let listener = try TCPListener(
            loop: test.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: test.loop.buffers,
            delegate: test.door(peer))
        let address = try #require(listener.localAddress)
        listener.close()
        peer.onFailed = { _, _ in test.loop.stop() }
        let stream = try TCPStream.connect(loop: test.loop, to: address, readPool: test.loop.buffers, delegate: peer)
        test.run()
        #expect(peer.failure == .connectionRefused)
        #expect(peer.failure?.name == "ECONNREFUSED" && peer.failure?.isRefused == true)
        #expect(stream.isClosed && stream.delegate == nil)
    }
}
