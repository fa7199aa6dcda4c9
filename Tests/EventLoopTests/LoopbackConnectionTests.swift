// SPDX-License-Identifier: Apache-2.0

import Glibc
import Primitives
import Testing

@testable import EventLoop

/// Connections to services of the same host, and what short ones cost.
@Suite struct LoopbackConnectionTests {
    /// A listening socket that nobody accepts from: how many connections it holds is all that matters.
    private final class Backlog {
        let descriptor: Int32
        let address: TransportAddress
        private var clients: [Int32] = []

        init() throws {
            let local = SocketAddress(TransportAddress(.loopbackV4, port: 0))
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            self.descriptor = descriptor
            let bound = local.withBytes { bind(descriptor, $0?.assumingMemoryBound(to: sockaddr.self), $1) }
            try #require(bound == 0 && listen(descriptor, 0) == 0)
            address = try #require(SocketAddress.local(of: descriptor))
        }

        /// Connects until the kernel takes no more.
        func fill() {
            var status: Int32 = 0
            while status == 0 {
                let flags = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
                let client = socket(AF_INET, flags, 0)
                clients.append(client)
                for _ in 0..<2 {
                    status = SocketAddress(address).withBytes {
                        connect(client, $0?.assumingMemoryBound(to: sockaddr.self), $1)
                    }
                }
            }
        }

        /// Takes one connection, so that there is room for another.
        func accept() { Glibc.close(Glibc.accept(descriptor, nil, nil)) }

        deinit { for descriptor in clients + [descriptor] { Glibc.close(descriptor) } }
    }

    @Test("a service of this host is connected within the turn, and the caller hears it after its call")
    func isConnectedAtOnce() throws {
        let test = try TestLoop()
        defer { test.end() }
        let backlog = try Backlog()
        let peer = test.peer()
        var isTold = false
        var wasToldWithinCall = true
        var wasToldWithinTurn = false
        peer.onConnected = { _ in isTold = true }
        let connecting = AtTurnEnd {
            let stream = try? TCPStream.connect(
                loop: test.loop, to: backlog.address, readPool: test.loop.buffers, delegate: peer)
            wasToldWithinCall = isTold
            test.loop.atNextTurnEnd(
                AtTurnEnd {
                    wasToldWithinTurn = isTold
                    stream?.close()
                    test.loop.stop()
                })
        }
        test.loop.atTurnEnd(connecting)
        test.run(atMost: .seconds(10))
        #expect(!wasToldWithinCall && wasToldWithinTurn)
    }

    /// The kernel asks again a second later.
    @Test("one that accepts nobody at present is waited for")
    func waitsForAFullBacklog() throws {
        let test = try TestLoop()
        defer { test.end() }
        let backlog = try Backlog()
        backlog.fill()
        let peer = test.peer()
        peer.onConnected = { stream in
            stream.close()
            test.loop.stop()
        }
        var hasToWait = false
        let soon = test.clock { backlog.accept() }
        let stream = try TCPStream.connect(
            loop: test.loop, to: backlog.address, readPool: test.loop.buffers, delegate: peer)
        test.loop.atTurnEnd(AtTurnEnd { hasToWait = !stream.isConnected })
        soon.timer?.arm(after: .milliseconds(50))
        test.run(atMost: .seconds(30))
        #expect(hasToWait && peer.failure == nil && stream.isClosed)
    }

    @Test("the end goes in one segment with the last bytes", arguments: [1, 3])
    func endTravelsWithTheLastBytes(parts: Int) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        var before: UInt32 = 0
        var after: UInt32 = 0
        connection.door.onAccepted = { _, _ in
            before = Self.segmentsSent(connection.near)
            for _ in 0..<parts { connection.near.write(test.loop.slice("the last words")) }
            connection.near.finishWriting()
        }
        connection.there.onEnd = { _ in
            after = Self.segmentsSent(connection.near)
            test.loop.stop()
        }
        test.run(atMost: .seconds(10))
        #expect(connection.there.received == 14 * parts && connection.there.ends == 1)
        #expect(after == before + 1)
        connection.close()
    }

    /// A relay of bulk writes what it has read: a read that is a little longer than a segment costs two.
    @Test("what one read brings goes on in one segment") func readsOneSegment() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let piece = String(repeating: "x", count: 64 << 10)
        let total = 16 * piece.utf8.count
        var longest = 0
        var before: UInt32 = 0
        // Both ways, since a segment has half of the widest window at most.
        connection.door.onAccepted = { far, _ in
            for stream in [far, connection.near] { for _ in 0..<16 { stream.write(test.loop.slice(piece)) } }
        }
        let writeOnce = {
            guard before == 0, connection.here.received == total, connection.there.received == total else { return }
            before = Self.segmentsSent(connection.near, withData: true)
            connection.near.write(test.loop.slice(String(piece.prefix(longest))))
        }
        connection.here.onReceived = { _, bytes in
            longest = max(longest, bytes.count)
            writeOnce()
        }
        connection.there.onReceived = { _, _ in
            writeOnce()
            if connection.there.received == total + longest { test.loop.stop() }
        }
        test.run(atMost: .seconds(10))
        #expect(longest > 60_000 && before > 0)
        #expect(Self.segmentsSent(connection.near, withData: true) == before + 1)
        connection.close()
    }

    /// `tcpi_segs_out` or `tcpi_data_segs_out` of Linux's `tcp_info`, which the C library's is too short for.
    private static func segmentsSent(_ stream: TCPStream, withData: Bool = false) -> UInt32 {
        var info = [UInt8](repeating: 0, count: 232)
        var length = socklen_t(info.count)
        getsockopt(stream.descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &length)
        return info.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: withData ? 156 : 136, as: UInt32.self) }
    }
}
