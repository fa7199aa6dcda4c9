// SPDX-License-Identifier: Apache-2.0

@testable import EventLoop
import Glibc
import Primitives
import Testing

/// The places in which a delegate may close things.
enum CallbackKind: CaseIterable { case connected, received, end, wrote, fill, failed, accepted }

@Suite struct TCPStreamLifeTests {
    /// Closing a stream, and the other end with it, within each callback: no call follows, nothing leaks.
    @Test(arguments: CallbackKind.allCases, [true, false]) func closesInCallbacks(kind: CallbackKind, resets: Bool)
        throws
    {
        let test = try TestLoop()
        defer { test.end() }
        weak var weakHere: Peer?
        weak var weakThere: Peer?
        var calls = 0
        try withConnection(test) { connection in
            weakHere = connection.here
            weakThere = connection.there
            let closeAll = { [unowned connection] in
                calls += 1
                for stream in [connection.near, connection.far].compactMap(\.self) {
                    resets ? stream.reset() : stream.close()
                }
                connection.listener.close()
                test.loop.stop()
            }
            connection.here.onConnected = { stream in
                if kind == .connected { return closeAll() }
                if kind == .fill { stream.setNeedsOutput() } else { stream.write(test.loop.slice("hello")) }
            }
            connection.here.onWrote = { stream, _ in kind == .wrote ? closeAll() : stream.finishWriting() }
            connection.here.onFill = { _, _ in closeAll() }
            connection.here.onFailed = { _, _ in closeAll() }
            connection.there.onReceived = { stream, _ in
                if kind == .received { closeAll() }
                if kind == .failed { stream.reset() }
            }
            connection.there.onEnd = { _ in if kind == .end { closeAll() } }
            connection.door.onAccepted = { _, _ in if kind == .accepted { closeAll() } }
            test.run()
            #expect(connection.here.callsAfterFailure == 0)
        }
        test.settle()
        #expect(calls == 1)
        #expect(weakHere == nil && weakThere == nil)
        #expect(test.loop.buffers.leased == 0 && test.loop.carrierBuffers.leased == 0)
    }

    private func withConnection(_ test: TestLoop, _ body: (Connection) throws -> Void) throws {
        try body(try Connection(test))
    }

    /// The loop's end closes what is open, and lets the delegates go; `closeAll()` does so where they hold the loop.
    @Test(arguments: [true, false]) func loopEndsWithOpenSockets(explicitly: Bool) throws {
        weak var weakLoop: EventLoop?
        weak var weakHere: Peer?
        weak var weakDoor: Door?
        weak var weakStream: TCPStream?
        do {
            let test = try TestLoop()
            defer { test.end() }
            let connection = try Connection(test)
            weakLoop = test.loop
            weakHere = connection.here
            weakDoor = connection.door
            weakStream = connection.near
            connection.door.onAccepted = { _, _ in test.loop.stop() }
            connection.here.onConnected = { $0.write(test.loop.slice("never sent")) }
            test.run()
            if explicitly {
                test.loop.closeAll()
            } else {
                connection.door.onAccepted = { _, _ in }
                connection.here.onConnected = { _ in }
            }
        }
        #expect(weakLoop == nil)
        #expect(weakHere == nil)
        #expect(weakDoor == nil)
        #expect(weakStream == nil)
    }

    /// An open socket keeps its delegate; a closed one does nothing at all.
    @Test func closedStreamIsInert() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        connection.here.onConnected = { _ in test.loop.stop() }
        test.run()
        let stream = connection.near
        #expect(stream.localAddress != nil && stream.remoteAddress == connection.listener.localAddress)
        connection.close()
        for _ in 0..<2 {
            stream.write(test.loop.slice("x"))
            stream.startReading()
            stream.stopReading()
            stream.setNeedsOutput()
            stream.finishWriting()
            stream.setNoDelay(false)
            stream.close()
            stream.reset()
            #expect(stream.isClosed && stream.queuedBytes == 0 && stream.delegate == nil)
            #expect(stream.localAddress == nil && stream.remoteAddress == nil)
            test.settle()
        }
        #expect(test.loop.buffers.leased == 0)
    }

    /// A stream that is not read hears of no RST, but can be asked. A FIN is no such end, and bytes that nobody has read
    /// hide none.
    @Test(arguments: [false, true], [0, 3]) func tellsThatItIsDisconnected(byReset: Bool, unread: Int) throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let look = test.clock { test.loop.stop() }
        connection.door.onAccepted = { stream, _ in
            stream.stopReading()
            stream.write(test.loop.slice(String(repeating: "x", count: unread)))
            stream.finishWriting()
            look.timer?.arm(after: .milliseconds(20))
        }
        connection.near.stopReading()
        test.run()
        #expect(!connection.near.isDisconnected)
        if byReset { connection.far?.reset() } else { connection.far?.close() }
        look.timer?.arm(after: .milliseconds(20))
        test.run()
        #expect(connection.near.isDisconnected == byReset)
        #expect(!connection.near.isClosed && connection.here.received == 0)
        connection.close()
        #expect(!connection.near.isDisconnected)
    }

    @Test func unusableSourceAddressIsThrown() throws {
        let test = try TestLoop()
        defer { test.end() }
        let address = try #require(TransportAddress("127.0.0.1:9"))
        let source = try #require(TransportAddress("192.0.2.1:0"))
        #expect {
            try TCPStream.connect(
                loop: test.loop, to: address, from: source, readPool: test.loop.buffers, delegate: test.peer())
        } throws: {
            ($0 as? UVError)?.isAddressNotAvailable == true
        }
        test.settle()
    }

    @Test func connectsFromAnAddress() throws {
        let test = try TestLoop()
        defer { test.end() }
        let there = test.peer()
        let door = test.door(there)
        let listener = try TCPListener(
            loop: test.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: test.loop.buffers,
            delegate: door)
        var from: TransportAddress?
        door.onAccepted = { _, address in
            from = address
            test.loop.stop()
        }
        let near = try TCPStream.connect(
            loop: test.loop, to: try #require(listener.localAddress), from: TransportAddress("127.0.0.2:0"),
            readPool: test.loop.buffers, delegate: test.peer())
        test.run()
        #expect(from?.ip == IPAddress("127.0.0.2") && from == near.localAddress)
    }

    /// What was written in the turn that closes the stream is sent; empty slices change nothing.
    @Test func closeSendsWhatWasWritten() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        connection.here.onConnected = { stream in
            stream.write(test.loop.slice(""))
            stream.write(test.loop.slice("last "))
            stream.write(test.loop.slice(""))
            stream.write(test.loop.slice("words"))
            stream.close()
        }
        var text = ""
        connection.there.onReceived = { _, bytes in text += bytes.text() }
        connection.there.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(text == "last words" && connection.here.callsAfterFailure == 0)
        connection.close()
    }

    /// Stopped reading leaves the bytes in the kernel; started again it brings them.
    @Test func stopsAndStartsReading() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        var turns = 0
        let resume = test.clock {
            turns += 1
            #expect(connection.there.received == 1)
            connection.far?.startReading()
        }
        connection.here.onConnected = { $0.write(test.loop.slice("1")) }
        connection.there.onReceived = { stream, _ in
            guard turns == 0 else { return test.loop.stop() }
            stream.stopReading()
            stream.startReading()
            stream.stopReading()
            connection.near.write(test.loop.slice("23"))
            resume.timer?.arm(after: .milliseconds(20))
        }
        test.run()
        #expect(turns == 1 && connection.there.received == 3)
        connection.close()
    }

    /// One busy socket leaves the others their turn: no more than 256 KiB and a buffer are read in one.
    @Test func readingIsShared() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        let traffic = Traffic(8 << 20)
        var inTurn = 0
        var most = 0
        let counter = test.everyTurn() {
            most = max(most, inTurn)
            inTurn = 0
        }
        connection.here.onConnected = { traffic.push($0, test.loop.buffers) }
        connection.here.onWrote = { stream, _ in traffic.push(stream, test.loop.buffers) }
        connection.there.onReceived = { _, bytes in
            inTurn += bytes.count
            counter.schedule()
            traffic.check(bytes)
        }
        connection.there.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(traffic.isIntact && traffic.checked == 8 << 20)
        #expect(most <= 320 << 10)
        connection.close()
    }

    /// The memory of one idle connection: libuv's handle and the object, and no buffer.
    @Test func idleStreamIsSmall() throws {
        let test = try TestLoop()
        defer { test.end() }
        let connection = try Connection(test)
        connection.here.onConnected = { $0.write(test.loop.slice("hello")) }
        connection.there.onReceived = { _, _ in test.loop.stop() }
        test.run()
        let object = Unmanaged.passUnretained(connection.near).toOpaque()
        let bytes = allocatedSize(object) + allocatedSize(connection.near.handle)
        print("an idle TCPStream takes \(bytes) bytes")
        #expect(bytes <= 600)
        #expect(test.loop.buffers.leased == 0 && connection.near.queue.isEmpty && connection.near.request == nil)
        connection.close()
    }

    /// What malloc set aside for a pointer, its own head included.
    private func allocatedSize(_ pointer: UnsafeMutableRawPointer) -> Int {
        typealias Function = @convention(c) (UnsafeMutableRawPointer) -> Int
        guard let symbol = dlsym(nil, "malloc_usable_size") else { return .max }
        return unsafeBitCast(symbol, to: Function.self)(pointer) + MemoryLayout<Int>.size
    }
}
