// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@testable import Tunneling

/// Datagrams whose senders can wait, and large ones, which are not copied.
@Suite struct DatagramRoomTests {
    /// Any sizes, in any order: what comes out is what went in.
    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func whatGoesInComesOut(_ seed: UInt64) {
        var random = TestSupport.SeededRandom(seed)
        let pool = BufferPool(capacity: 65_535, keepsAtMost: 4)
        var queue = DatagramQueue(bound: 1 << 20)
        var expected: [[UInt8]] = []
        var found: [UInt8] = []
        for round in 0..<400 {
            let size = Int.random(in: 0...(round % 3 == 0 ? 65_535 : 2_000), using: &random)
            let datagram = random.bytes(size)
            if queue.room >= size {
                queue.append(pool.lease(copying: datagram.span.bytes), stream: UInt32(round))
                let header = FrameHeader(.datagram, length: size, stream: UInt32(round)).wire.bigEndian
                expected.append(withUnsafeBytes(of: header) { Array($0) } + datagram)
            }
            guard round % 2 == 0 else { continue }
            let limit = Int.random(in: 0...100_000, using: &random)
            let first = queue.firstFrame
            let count = queue.send(atMost: limit) { found.append(copying: $0) }
            #expect(count <= max(limit, first), "seed \(seed)")
        }
        while !queue.isEmpty { _ = queue.send(atMost: 65_536) { found.append(copying: $0) } }
        #expect(found == expected.flatMap(\.self), "seed \(seed)")
        #expect(queue.dropped == 0 && pool.leased == 0)
    }

    @Test func theOldestGoWhoeverIsLarge() {
        let pool = BufferPool(capacity: 65_535, keepsAtMost: 4)
        var queue = DatagramQueue(bound: 100_000)
        for size in [40_000, 100, 50_000, 200, 60_000] {
            queue.append(pool.lease(copying: [UInt8](repeating: 1, count: size).span.bytes), stream: 1)
        }
        #expect(queue.dropped == 3 && queue.firstFrame == 208 && pool.leased == 1)
        #expect(queue.room == 0)
    }

    /// A sender that waits is told once most of what waits has gone, and not before.
    @Test func whoWaitsIsTold() throws {
        let pair = try TunnelPair()
        let application = Waiting()
        let stream = try #require(
            pair.dialer.tunnel.open(
                OpenRequest(kind: .datagram, destination: .none, source: .none), delegate: application, now: pair.now))
        let pool = BufferPool(capacity: 65_535, keepsAtMost: 4)
        var sent = 0
        while stream.sendRoom > 0 {
            stream.send(pool.lease(copying: [UInt8](repeating: 7, count: 60_000).span.bytes))
            sent += 1
        }
        #expect(sent > 1 && pair.dialer.tunnel.droppedDatagrams == 0)
        stream.awaitSendRoom()
        #expect(application.told == 0)
        try pair.settle()
        #expect(application.told == 1 && stream.sendRoom > 0)
    }
}

private final class Waiting: TunnelStreamDelegate {
    var told = 0
    func streamOpened(_ stream: TunnelStream) {}
    func stream(_ stream: TunnelStream, received bytes: consuming Slice) {}
    func streamReceivedEnd(_ stream: TunnelStream) {}
    func streamHasSendRoom(_ stream: TunnelStream) { told += 1 }
    func stream(_ stream: TunnelStream, wasReset code: StreamResetCode) {}
    func streamFinished(_ stream: TunnelStream) {}
}
