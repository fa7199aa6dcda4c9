// SPDX-License-Identifier: Apache-2.0

@testable import EventLoop
import Glibc
import Primitives
import Testing

/// A socket's delegate made of closures.
final class Correspondent: UDPSocketDelegate {
    var onReceived: (UDPSocket, RawSpan, TransportAddress) -> Void = { _, _, _ in }
    var onFailed: (UDPSocket, UVError) -> Void = { _, _ in }
    /// Called first: with the address of this host.
    var onLocal: (IPAddress?) -> Void = { _ in }
    private(set) var received = 0
    /// Where the datagram at hand came to.
    private(set) var local: IPAddress?
    private(set) var failures: [UVError] = []

    func clear() {
        onReceived = { _, _, _ in }
        onLocal = { _ in }
        onFailed = { _, _ in }
    }

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        received += 1
        self.local = local
        onLocal(local)
        onReceived(socket, datagram, address)
    }
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {
        failures.append(error)
        onFailed(socket, error)
    }
}

@Suite struct UDPSocketTests {
    /// 10,000 datagrams of sizes and receivers that change in runs: each arrives whole, in order, from where it was sent.
    @Test(arguments: [IPAddress.loopbackV4, .loopbackV6], [1, 2, 3] as [UInt64])
    func deliversBatches(ip: IPAddress, seed: UInt64) throws {
        let test = try TestLoop()
        defer { test.end() }
        var random = SplitMix(state: seed)
        let total = 10_000
        let receivers = (0..<3).map { _ in test.correspondent() }
        let sockets = try receivers.map {
            try UDPSocket(loop: test.loop, bind: TransportAddress(ip, port: 0), delegate: $0)
        }
        let addresses = try sockets.map { try #require($0.localAddress) }
        let sender = test.correspondent()
        let source = try UDPSocket(loop: test.loop, bind: TransportAddress(ip, port: 0), delegate: sender)
        let pattern = Pattern(seed: seed)
        var expected: [[(place: Int, size: Int)]] = [[], [], []]
        var sent = 0
        var received = 0
        let more = test.clock {}
        // A window, so that no receive buffer overflows.
        let sendMore = {
            var burst = 0
            while sent < total, burst < 100 {
                let target = Int.random(in: 0..<3, using: &random)
                let size = [0, 1, 64, 700, 1200, 1472, 4000].randomElement(using: &random) ?? 1
                for _ in 0..<min(Int.random(in: 1...20, using: &random), total - sent) {
                    let isShort = Int.random(in: 0..<20, using: &random) == 0
                    let length = isShort ? size / 2 : size
                    expected[target].append((sent, length))
                    pattern.withBytes(at: sent, count: length) { source.send($0, to: addresses[target]) }
                    sent += 1
                    burst += 1
                }
            }
            more.timer?.arm(after: .milliseconds(1))
        }
        let pump = test.clock { if received == sent { sendMore() } }
        for (index, receiver) in receivers.enumerated() {
            receiver.onReceived = { _, datagram, from in
                let number = receiver.received - 1
                let (place, size) = expected[index][number]
                #expect(datagram.byteCount == size && from == source.localAddress, "seed \(seed)")
                let isIntact = pattern.matches(datagram, at: place)
                #expect(isIntact, "seed \(seed)")
                received += 1
                if received == total { return test.loop.stop() }
                if received == sent { pump.timer?.arm(after: .zero) }
            }
        }
        sendMore()
        test.run()
        #expect(received == total && source.dropped == 0, "seed \(seed)")
        for socket in sockets + [source] { socket.close() }
        test.settle()
    }

    /// Runs of equal size to one receiver are one message, whose last datagram may be shorter.
    @Test func mergesRuns() throws {
        let test = try TestLoop()
        defer { test.end() }
        let socket = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: test.correspondent())
        let (a, b) = (TransportAddress(.loopbackV4, port: 1), TransportAddress(.loopbackV4, port: 2))
        let bytes = [UInt8](repeating: 1, count: 2000)
        func send(_ count: Int, _ size: Int, _ address: TransportAddress) {
            for _ in 0..<count { socket.send(bytes.rawSpan.extracting(0..<size), to: address) }
        }
        send(10, 100, a)
        send(1, 50, a)
        send(1, 50, a)
        send(1, 60, a)
        send(65, 10, b)
        send(2, 0, b)
        send(1, 10, b)
        let batch = try #require(socket.batch)
        let messages = (0..<batch.pointee.count).map { batch.messages[$0] }
        #expect(messages.map(\.length) == [1050, 50, 60, 640, 10, 0, 0, 10])
        #expect(messages.map(\.segment) == [100, 50, 60, 10, 10, 0, 0, 10])
        socket.close()
        #expect(socket.batch == nil)
        test.settle()
    }

    /// More sockets than there are batches, each with output in the same turn.
    @Test func manySocketsSendInOneTurn() throws {
        let test = try TestLoop()
        defer { test.end() }
        let receiver = test.correspondent()
        let sink = try UDPSocket(loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: receiver)
        let address = try #require(sink.localAddress)
        let count = 50
        let sockets = try (0..<count).map { _ in
            try UDPSocket(loop: test.loop, connectedTo: address, delegate: test.correspondent())
        }
        var senders: Set<TransportAddress> = []
        receiver.onReceived = { _, datagram, from in
            #expect(datagram.byteCount == 5)
            senders.insert(from)
            if receiver.received == count * 2 { test.loop.stop() }
        }
        for _ in 0..<2 { for socket in sockets { socket.send(Array("hello".utf8).rawSpan) } }
        test.run()
        #expect(senders.count == count)
        for socket in sockets + [sink] { socket.close() }
    }

    /// The peer's closed port is told, and the socket goes on.
    @Test func refusalIsToldAndSurvived() throws {
        let test = try TestLoop()
        defer { test.end() }
        let silent = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: test.correspondent())
        let address = try #require(silent.localAddress)
        silent.close()
        let peer = test.correspondent()
        let socket = try UDPSocket(loop: test.loop, connectedTo: address, delegate: peer)
        var revived: UDPSocket?
        let echo = test.correspondent()
        echo.onReceived = { socket, datagram, from in socket.send(datagram, to: from) }
        peer.onFailed = { socket, error in
            #expect(error == .connectionRefused)
            guard peer.failures.count == 3 else { return socket.send(Array("again".utf8).rawSpan) }
            revived = try? UDPSocket(loop: test.loop, bind: address, delegate: echo)
            socket.send(Array("there".utf8).rawSpan)
        }
        var answer = 0
        peer.onReceived = { _, datagram, from in
            #expect(from == address)
            answer = datagram.byteCount
            test.loop.stop()
        }
        socket.send(Array("anyone?".utf8).rawSpan)
        test.run()
        #expect(answer == 5 && peer.failures.count == 3)
        socket.close()
        revived?.close()
    }

    /// An error that an earlier datagram caused does not cost the next one.
    @Test func pendingErrorDoesNotDropTheNext() throws {
        let test = try TestLoop()
        defer { test.end() }
        let silent = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: test.correspondent())
        let address = try #require(silent.localAddress)
        silent.close()
        let peer = test.correspondent()
        let socket = try UDPSocket(loop: test.loop, connectedTo: address, delegate: peer)
        let sink = test.correspondent()
        sink.onReceived = { _, _, _ in test.loop.stop() }
        socket.send(Array("lost".utf8).rawSpan)
        test.loop.atTurnEnd(
            AtTurnEnd {
                let heard = try? UDPSocket(loop: test.loop, bind: address, delegate: sink)
                #expect(heard != nil)
                socket.send(Array("kept".utf8).rawSpan)
            })
        test.run()
        #expect(sink.received == 1 && socket.dropped == 0)
        #expect(peer.failures == [.connectionRefused])
    }

    @Test func sizesAtTheEdge() throws {
        let test = try TestLoop()
        defer { test.end() }
        let receiver = test.correspondent()
        let sink = try UDPSocket(loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: receiver)
        let address = try #require(sink.localAddress)
        let socket = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: test.correspondent())
        let bytes = [UInt8](repeating: 7, count: 70_000)
        var sizes: [Int] = []
        receiver.onReceived = { _, datagram, _ in
            sizes.append(datagram.byteCount)
            if sizes.count == 4 { test.loop.stop() }
        }
        for size in [65_507, 65_508, 70_000, 0, 65_507, 1] {
            socket.send(bytes.rawSpan.extracting(0..<size), to: address)
        }
        test.run()
        #expect(sizes == [65_507, 0, 65_507, 1])
        #expect(socket.dropped == 2)
        // Without a receiver there is nowhere to send to.
        socket.send(bytes.rawSpan.extracting(0..<5))
        socket.send(bytes.rawSpan.extracting(0..<5))
        socket.close()
        #expect(socket.dropped == 4)
        sink.close()
        test.settle()
    }

    /// Closed in a call in the middle of a batch: nothing more comes; stopped: the batch comes, and no more.
    @Test func closesAndStopsInCalls() throws {
        let test = try TestLoop()
        defer { test.end() }
        let receiver = test.correspondent()
        let sink = try UDPSocket(loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: receiver)
        let address = try #require(sink.localAddress)
        let socket = try UDPSocket(loop: test.loop, connectedTo: address, delegate: test.correspondent())
        let send = { (count: Int) in for _ in 0..<count { socket.send(Array("x".utf8).rawSpan) } }
        let resume = test.clock {
            #expect(receiver.received == 3)
            sink.startReading()
        }
        receiver.onReceived = { sink, _, _ in
            if receiver.received == 1 {
                sink.stopReading()
                send(4)
                resume.timer?.arm(after: .milliseconds(10))
            }
            if receiver.received == 5 {
                sink.close()
                test.loop.stop()
            }
        }
        send(3)
        test.run()
        #expect(receiver.received == 5)
        socket.close()
        test.settle()
    }
}
