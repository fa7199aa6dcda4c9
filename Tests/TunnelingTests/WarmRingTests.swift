// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Primitives
@testable import Tunneling

/// A busy stream does not allocate anew for each small payload; a quiet one holds nothing.
@Suite struct WarmRingTests {
    private func payload(_ count: Int) -> Slice {
        BufferPool(capacity: 4_096, keepsAtMost: 0).lease(copying: [UInt8](repeating: 7, count: count).rawSpan)
    }

    private func pass(_ count: Int, through queue: inout SendQueue) {
        queue.append(payload(count))
        queue.send(count) { _ in }
    }

    @Test func memoryIsKeptWhileThereIsTrafficAndGivenBackAfterwards() {
        var queue = SendQueue()
        for round in 1...20 {
            pass(1_000, through: &queue)
            let freed = queue.acknowledge(UInt64(round * 1_000))
            let (capacity, isQuiet) = (queue.ringCapacity, round % 10 == 0 && queue.coolDown())
            #expect(freed == 1_000 && capacity == 1_024, "the same memory serves round \(round)")
            #expect(!isQuiet, "it was in use")
        }
        let (isQuiet, capacity) = (queue.coolDown(), queue.ringCapacity)
        #expect(isQuiet && capacity == 0)
    }

    @Test func whatIsNotConfirmedStays() {
        var queue = SendQueue()
        pass(100, through: &queue)
        let early = [queue.coolDown(), queue.coolDown()]
        #expect(early == [false, false], "its bytes may be asked for again")
        let freed = queue.acknowledge(100)
        let late = queue.coolDown()
        #expect(freed == 100 && late)
    }

    @Test func muchMemoryIsNotKept() {
        var queue = SendQueue()
        for _ in 0..<200 { pass(1_000, through: &queue) }
        let freed = queue.acknowledge(200_000)
        let capacity = queue.ringCapacity
        #expect(freed == 200_000 && capacity == 0)
    }

    @Test func aTunnelCoolsItsStreamsDown() throws {
        let pair = try TunnelPair()
        defer { pair.end() }
        let application = try #require(pair.dialer.open(now: pair.now))
        let stream = try #require(application.stream)
        application.pump(atMost: 100)
        try pair.settle()
        try pair.advance(.milliseconds(150))
        #expect(stream.queue.held == 0 && stream.queue.ringCapacity > 0, "confirmed, and warm")
        for _ in 0..<3 { try pair.advance(.seconds(1)) }
        #expect(warmStreams(pair.dialer) == 0 && stream.queue.ringCapacity == 0)
        #expect(pair.dialer.tunnel.nextDeadline > pair.now + .seconds(2), "and nothing wakes the loop for it any more")
    }

    /// Streams that come and go are not kept for the sake of their rings.
    @Test func shortStreamsLeaveNothing() throws {
        let pair = try TunnelPair()
        defer { pair.end() }
        pair.dialer.behaviour.total = 500
        pair.acceptor.behaviour.total = 500
        for _ in 0..<20 {
            try #require(pair.dialer.open(now: pair.now)).pump(atMost: 500)
            try pair.settle()
            for application in pair.acceptor.applications.values { application.pump(atMost: 500) }
            try pair.settle()
        }
        #expect(pair.dialer.tunnel.streamCount == 0)
        #expect(warmStreams(pair.dialer) == 0 && warmStreams(pair.acceptor) == 0)
    }

    private func warmStreams(_ end: TunnelEnd) -> Int {
        let count = end.tunnel.warm.count
        return count
    }
}
