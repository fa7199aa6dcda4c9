// SPDX-License-Identifier: Apache-2.0

import Glibc
import Primitives
import Testing

@testable import EventLoop

/// Two connections that are made into one, with a peer on each of their other ends.
@Suite struct StreamSpliceTests {
    private final class Site: StreamSpliceDelegate {
        let test: TestLoop
        let left: Connection
        let right: Connection
        private(set) var splice: StreamSplice?
        private(set) var ends = 0
        var onEnd: () -> Void = {}

        init(begun: @escaping (Site) -> Void) throws {
            test = try TestLoop()
            left = try Connection(test)
            right = try Connection(test)
            // In a turn of its own: an acceptor closes what nobody wants.
            let clock = test.clock { [unowned self] in
                if let one = left.far, let two = right.far { begin(one, two, begun) }
            }
            for connection in [left, right] {
                connection.door.onAccepted = { [unowned self] _, _ in
                    if left.far != nil, right.far != nil { clock.timer?.arm(after: .zero) }
                }
            }
        }

        private func begin(_ one: TCPStream, _ two: TCPStream, _ begun: (Site) -> Void) {
            do {
                #expect(one.surrender(behind: test.loop.slice("")) && two.surrender(behind: test.loop.slice("")))
                splice = try StreamSplice(loop: test.loop, one, two, delegate: self)
                begun(self)
            } catch {
                Issue.record("\(error)")
                test.loop.stop()
            }
        }

        func streamSpliceEnded(_ splice: StreamSplice) {
            ends += 1
            onEnd()
        }

        /// Closes what the peers hold, and waits until nothing is left.
        func end() {
            onEnd = {}
            left.close()
            right.close()
            test.settle()
            test.end()
            #expect(test.loop.buffers.leased == 0)
        }
    }

    /// As much as can be, both ways at once, and each direction's end as one.
    @Test(arguments: [0, 1, 70_000, 48 << 20]) func bothWays(total: Int) throws {
        let (there, back) = (Traffic(total), Traffic(total))
        let site = try Site { site in
            there.push(site.left.near, site.test.loop.buffers)
            back.push(site.right.near, site.test.loop.buffers)
        }
        site.left.here.onWrote = { stream, _ in there.push(stream, site.test.loop.buffers) }
        site.right.here.onWrote = { stream, _ in back.push(stream, site.test.loop.buffers) }
        site.right.here.onReceived = { _, bytes in there.check(bytes) }
        site.left.here.onReceived = { _, bytes in back.check(bytes) }
        let stopIfOver = {
            if site.ends + site.left.here.ends + site.right.here.ends == 3 { site.test.loop.stop() }
        }
        site.onEnd = stopIfOver
        for peer in [site.left.here, site.right.here] { peer.onEnd = { _ in stopIfOver() } }
        site.test.run()
        #expect(there.isIntact && there.checked == total && back.isIntact && back.checked == total)
        #expect(site.splice?.byteCount == UInt64(2 * total))
        #expect(site.ends == 1 && site.left.here.ends == 1 && site.right.here.ends == 1)
        #expect(site.left.here.failure == nil && site.right.here.failure == nil)
        site.end()
    }

    /// One direction ends, and the other goes on.
    @Test func halves() throws {
        let site = try Site { $0.left.near.finishWriting() }
        site.right.here.onEnd = { stream in
            stream.write(site.test.loop.slice("after the end"))
            stream.finishWriting()
        }
        var text: [UInt8] = []
        site.left.here.onReceived = { _, bytes in text.append(copying: bytes.bytes) }
        site.left.here.onEnd = { _ in site.test.loop.stop() }
        site.test.run()
        #expect(text == Array("after the end".utf8) && site.right.here.ends == 1 && site.left.here.failure == nil)
        site.end()
    }

    /// What is not read is not taken from the sender either: no more waits than sockets and a pipe hold.
    @Test func whoDoesNotReadHoldsTheSenderUp() throws {
        let total = 256 << 20
        let traffic = Traffic(total)
        let site = try Site { site in
            site.right.near.stopReading()
            traffic.push(site.left.near, site.test.loop.buffers)
        }
        site.left.here.onWrote = { stream, count in
            traffic.wrote(count)
            traffic.push(stream, site.test.loop.buffers)
        }
        site.right.here.onReceived = { _, bytes in traffic.check(bytes) }
        var (last, quiet) = (0, 0)
        var clock: Clock?
        clock = site.test.clock {
            clock?.timer?.arm(after: .milliseconds(20))
            quiet = traffic.written == last && last > 0 ? quiet + 1 : 0
            last = traffic.written
            if quiet == 20 { site.test.loop.stop() }
        }
        clock?.timer?.arm(after: .milliseconds(20))
        site.test.run()
        #expect(traffic.written < 64 << 20, "\(traffic.written) bytes were taken, and nobody reads")
        clock?.clear()
        site.right.near.startReading()
        site.right.here.onEnd = { _ in site.test.loop.stop() }
        site.test.run()
        #expect(traffic.isIntact && traffic.checked == total)
        site.end()
    }

    /// A connection that fails takes the other with it, as a failure; what it has not delivered does not arrive as an end.
    @Test(arguments: [true, false]) func aResetIsPassedOn(whileHeldUp: Bool) throws {
        let traffic = Traffic(whileHeldUp ? 64 << 20 : 1_000, endsWithFIN: false)
        let site = try Site { site in
            if whileHeldUp { site.right.near.stopReading() }
            traffic.push(site.left.near, site.test.loop.buffers)
        }
        site.left.here.onWrote = { stream, _ in traffic.push(stream, site.test.loop.buffers) }
        site.right.here.onReceived = { _, _ in site.left.near.reset() }
        // By then nothing moves any more.
        let clock = site.test.clock { site.left.near.reset() }
        if whileHeldUp { clock.timer?.arm(after: .milliseconds(200)) }
        site.onEnd = {
            clock.clear()
            site.right.near.startReading()
        }
        site.right.here.onFailed = { _, _ in site.test.loop.stop() }
        site.test.run()
        #expect(site.right.here.failure?.isReset == true && site.right.here.ends == 0 && site.ends == 1)
        site.end()
    }

    @Test func closing() throws {
        let site = try Site { $0.splice?.close() }
        var failures = 0
        for peer in [site.left.here, site.right.here] {
            peer.onFailed = { _, _ in
                failures += 1
                if failures == 2 { site.test.loop.stop() }
            }
        }
        site.test.run()
        #expect(failures == 2 && site.ends == 0)
        site.end()
    }
}
