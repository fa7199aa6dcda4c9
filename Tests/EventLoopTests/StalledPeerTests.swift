// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import Testing

/// What a peer that reads nothing makes a stream hold.
@Suite struct StalledPeerTests {
    /// Small writes come each in a read buffer of its own: the buffers must not wait with them.
    @Test(arguments: [1, 100, 5_000]) func smallWritesDoNotHoldTheirBuffers(size: Int) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let pattern = Pattern()
        let total = 200_000
        var place = 0
        var filled = 0
        var isStalled = false
        var writer: EveryTurn?
        var mismatch: Int?
        connection.door.onAccepted = { stream, _ in stream.stopReading() }
        writer = test.everyTurn {
            // First until the kernel takes no more, then in small pieces, some in each turn.
            if connection.near.queuedBytes == 0 {
                connection.near.write(pattern.slice(at: place, count: 60_000, from: test.loop.buffers))
                place += 60_000
                filled = place
            } else {
                isStalled = true
                for _ in 0..<50 where place - filled < total {
                    connection.near.write(pattern.slice(at: place, count: size, from: test.loop.buffers))
                    place += size
                }
            }
            if isStalled, place - filled >= total / (size == 1 ? 10 : 1) { return test.loop.stop() }
            writer?.schedule()
        }
        connection.here.onConnected = { _ in writer?.schedule() }
        test.run()
        #expect(connection.near.queuedBytes >= 20_000)
        #expect(test.loop.buffers.leased < 100)

        connection.there.onReceived = { _, bytes in
            let start = connection.there.received - bytes.count
            if !pattern.matches(bytes.bytes, at: start) { mismatch = mismatch ?? start }
            if connection.there.received == place { test.loop.stop() }
        }
        connection.far?.startReading()
        test.run()
        #expect(connection.there.received == place && mismatch == nil)
        #expect(connection.near.queuedBytes == 0 && test.loop.buffers.leased == 0)
        connection.close()
    }
}
