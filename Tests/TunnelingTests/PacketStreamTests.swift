// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@testable import Tunneling

/// One end, with all that came to it.
private final class End: PacketStreamDelegate {
    let stream: PacketStream
    let (local, remote): (IPAddress, IPAddress)
    var received: [UInt8] = []
    var hasEnded = false
    var failure: PacketStreamFailure?
    let pool = BufferPool(capacity: 2_048, keepsAtMost: 16)

    init(_ local: IPAddress, _ remote: IPAddress, isDialing: Bool) {
        (self.local, self.remote) = (local, remote)
        stream = PacketStream(connection: 7, from: local, to: remote, isDialing: isDialing)
        stream.delegate = self
    }

    func take(_ packet: [UInt8], now: Instant) {
        guard let (segment, count) = PacketSegment.read(packet.rawSpan, from: remote, to: local) else { return }
        var bytes = pool.lease(copying: packet.rawSpan)
        bytes.removeFirst(count)
        stream.receive(segment, bytes, now: now)
    }

    func next(now: Instant) -> [UInt8]? {
        var output = OutputBuffer(from: pool)
        guard stream.fill(&output, now: now) else { return nil }
        var bytes: [UInt8] = []
        bytes.append(copying: output.bytes)
        return bytes
    }

    func packetStream(_ stream: PacketStream, received bytes: consuming Slice) { received.append(copying: bytes.bytes) }
    func packetStreamReceivedEnd(_ stream: PacketStream) { hasEnded = true }
    func packetStream(_ stream: PacketStream, failed why: PacketStreamFailure) { failure = why }
}

/// Two ends and a network that loses, doubles and reorders, in a time of its own.
private struct Network {
    let a = End(IPAddress(v6: 1), IPAddress(v6: 2), isDialing: true)
    let b = End(IPAddress(v6: 2), IPAddress(v6: 1), isDialing: false)
    var random: SplitMix
    /// Of a hundred packets.
    let loss: Int
    var now = Instant(nanoseconds: 1_000_000_000)
    private var underWay: [(at: Instant, toA: Bool, bytes: [UInt8])] = []
    var sent = 0

    init(seed: UInt64, loss: Int) {
        random = SplitMix(state: seed)
        self.loss = loss
    }

    /// Runs until nothing is left to do, or the time is over.
    mutating func run(for limit: Duration) {
        let end = now + limit
        while now < end {
            while let packet = a.next(now: now) { send(packet, toA: false) }
            while let packet = b.next(now: now) { send(packet, toA: true) }
            let deadlines = [a.stream.nextDeadline, b.stream.nextDeadline, underWay.map(\.at).min()].compactMap(\.self)
            guard let next = deadlines.min() else { return }
            now = max(now, next)
            let due = underWay.filter { $0.at <= now }.sorted { $0.at < $1.at }
            underWay.removeAll { $0.at <= now }
            for packet in due { (packet.toA ? a : b).take(packet.bytes, now: now) }
            a.stream.handleTimeout(now: now)
            b.stream.handleTimeout(now: now)
        }
    }

    private mutating func send(_ packet: [UInt8], toA: Bool) {
        sent += 1
        for _ in 0..<(random.below(50) == 0 ? 2 : 1) where random.below(100) >= loss {
            let delay = Duration.milliseconds(10) + .microseconds(random.below(3_000))
            underWay.append((now + delay, toA, packet))
        }
    }
}

private struct SplitMix {
    var state: UInt64
    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}

@Suite struct PacketStreamTests {
    @Test("bytes come in order over a network that loses packets", arguments: [0, 1, 5, 20], [1, 2, 3])
    func transfers(loss: Int, seed: Int) {
        var network = Network(seed: UInt64(seed), loss: loss)
        let one = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
        let other = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
        network.a.stream.append(one.rawSpan)
        network.b.stream.append(other.rawSpan)
        network.a.stream.finish()
        network.b.stream.finish()
        network.run(for: .seconds(120))
        #expect(network.b.received == one && network.a.received == other, "seed \(seed)")
        #expect(network.a.hasEnded && network.b.hasEnded)
        #expect(network.a.stream.isFlushed && network.b.stream.isFlushed)
        #expect(network.a.failure == nil && network.b.failure == nil)
    }

    @Test func withoutLossNothingIsSentTwice() {
        var network = Network(seed: 9, loss: 0)
        network.a.stream.append([UInt8](repeating: 1, count: PacketStream.room * 100).rawSpan)
        network.run(for: .seconds(20))
        #expect(network.b.received.count == PacketStream.room * 100)
        #expect(network.sent < 220, "\(network.sent)")
    }

    @Test func silenceIsNoticed() {
        var network = Network(seed: 1, loss: 100)
        network.a.stream.append([1, 2, 3].rawSpan)
        network.run(for: .seconds(60))
        #expect(network.a.failure == .silent)
    }

    @Test func aResetEndsIt() {
        let network = Network(seed: 1, loss: 0)
        var output = OutputBuffer(from: network.b.pool)
        network.b.stream.writeReset(&output)
        var bytes: [UInt8] = []
        bytes.append(copying: output.bytes)
        network.a.take(bytes, now: network.now)
        #expect(network.a.failure == .reset)
    }

    @Test func everyTruncationAndRubbishIsRefused() {
        let network = Network(seed: 3, loss: 0)
        network.a.stream.append([1, 2, 3].rawSpan)
        guard let packet = network.a.next(now: network.now) else { return #expect(Bool(false)) }
        for count in 0..<packet.count {
            #expect(
                PacketSegment.read(Array(packet[..<count]).rawSpan, from: network.a.local, to: network.b.local) == nil)
        }
        var random = SplitMix(state: 5)
        for _ in 0..<20_000 {
            var wrong = packet
            for _ in 0..<3 { wrong[random.below(wrong.count)] = UInt8(random.below(256)) }
            network.b.take(wrong, now: network.now)
        }
    }
}
