// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import Testing

/// A delegate that asks for more from within the call in which it is asked for output.
@Suite struct FillingTests {
    /// More than a turn's share is filled in, on several streams, and each time other work for the same stream asked for.
    @Test func streamsAskForMoreWhileTheyAreFilled() throws {
        let test = try TestLoop()
        defer { test.end() }
        let total = 32 << 20
        let zeros = [UInt8](repeating: 0, count: 64 << 10)
        var left = 5
        let connections = try (0..<left).map { _ in try Connection(test) }
        for connection in connections {
            var filled = 0
            connection.here.onConnected = { $0.setNeedsOutput() }
            connection.here.onFill = { stream, output in
                guard filled < total else { return }
                output.append(zeros.span.bytes)
                filled += zeros.count
                if filled == total { stream.finishWriting() } else { stream.write(test.loop.slice("x")) }
            }
            connection.there.onEnd = { _ in
                left -= 1
                if left == 0 { test.loop.stop() }
            }
        }
        test.run(atMost: .seconds(30))
        for connection in connections {
            #expect(connection.there.received == total + (total / zeros.count) - 1)
            connection.close()
        }
    }

    /// What is asked for in the call that gives nothing is not forgotten.
    @Test func aWishInTheLastFillingIsHeard() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        var calls = 0
        connection.here.onConnected = { $0.setNeedsOutput() }
        connection.here.onFill = { stream, output in
            calls += 1
            if calls == 1 { return stream.setNeedsOutput() }
            if calls == 2 { output.append([UInt8]("hello".utf8).span.bytes) }
        }
        connection.there.onReceived = { _, bytes in
            if connection.there.received == 5 { test.loop.stop() }
        }
        test.run(atMost: .seconds(5))
        #expect(connection.there.received == 5)
        connection.close()
    }
}
