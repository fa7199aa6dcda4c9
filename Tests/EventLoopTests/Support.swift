// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Glibc
import Primitives
import Testing

/// A loop for one test. A test that hangs is ended and fails.
final class TestLoop: LoopTimerDelegate {
    let loop: EventLoop
    private var timer: LoopTimer?
    private(set) var hasHung = false

    init() throws { loop = try EventLoop() }

    /// Runs until `loop.stop()`, or fails.
    func run(atMost limit: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation) {
        let timer = LoopTimer(loop: loop, delegate: self)
        timer.arm(after: limit)
        loop.run()
        timer.close()
        #expect(!hasHung, "the test hung", sourceLocation: sourceLocation)
    }

    func timerFired(_ timer: LoopTimer) {
        hasHung = true
        loop.stop()
    }

    /// Runs the turns that it takes until what was closed has gone.
    func settle() { loop.run() }

    /// Closes everything, and breaks the circles that a test's closures make, so that a leak is the library's own.
    func end() {
        loop.closeAll()
        for clean in cleaning { clean() }
        cleaning = []
    }

    private var cleaning: [() -> Void] = []

    func peer() -> Peer { keep(Peer()) { $0.clear() } }
    func door(_ peer: Peer) -> Door { keep(Door(peer)) { $0.clear() } }
    func clock(_ body: @escaping () -> Void) -> Clock { keep(Clock(loop, body)) { $0.clear() } }
    func everyTurn(_ body: @escaping () -> Void) -> EveryTurn { keep(EveryTurn(loop, body)) { $0.clear() } }
    func correspondent() -> Correspondent { keep(Correspondent()) { $0.clear() } }

    private func keep<T: AnyObject>(_ object: T, _ clean: @escaping (T) -> Void) -> T {
        cleaning.append { [weak object] in object.map(clean) }
        return object
    }
}

/// A stream's delegate made of closures, which also counts.
final class Peer: TCPStreamDelegate {
    var onConnected: (TCPStream) -> Void = { _ in }
    var onReceived: (TCPStream, consuming Slice) -> Void = { _, bytes in _ = bytes.count }
    var onEnd: (TCPStream) -> Void = { _ in }
    var onWrote: (TCPStream, Int) -> Void = { _, _ in }
    var onFill: (TCPStream, inout OutputBuffer) -> Void = { _, _ in }
    var onFailed: (TCPStream, UVError) -> Void = { _, _ in }

    private(set) var received = 0
    private(set) var ends = 0
    private(set) var failure: UVError?
    private(set) var callsAfterFailure = 0

    func tcpStreamConnected(_ stream: TCPStream) {
        count()
        onConnected(stream)
    }
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        count()
        received += bytes.count
        onReceived(stream, bytes)
    }
    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        count()
        ends += 1
        onEnd(stream)
    }
    func tcpStream(_ stream: TCPStream, wrote count: Int) {
        self.count()
        onWrote(stream, count)
    }
    func tcpStream(_ stream: TCPStream, fill output: inout OutputBuffer) {
        count()
        onFill(stream, &output)
    }
    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        count()
        failure = error
        #expect(stream.isClosed)
        onFailed(stream, error)
    }

    private func count() { if failure != nil { callsAfterFailure += 1 } }

    func clear() {
        onConnected = { _ in }
        onReceived = { _, bytes in _ = bytes.count }
        onEnd = { _ in }
        onWrote = { _, _ in }
        onFill = { _, _ in }
        onFailed = { _, _ in }
    }
}

/// A listener's delegate that gives every connection to one peer.
final class Door: TCPListenerDelegate, UnixListenerDelegate {
    let peer: Peer
    private(set) var streams: [TCPStream] = []
    private(set) var pauses: [UVError] = []
    var onAccepted: (TCPStream, TransportAddress?) -> Void = { _, _ in }
    var onPaused: () -> Void = {}

    init(_ peer: Peer) { self.peer = peer }

    func clear() {
        onAccepted = { _, _ in }
        onPaused = {}
        streams = []
    }

    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        accept(stream, address)
    }
    func unixListener(_ listener: UnixListener, accepted stream: TCPStream) { accept(stream, nil) }
    func tcpListener(_ listener: TCPListener, pausedFor error: UVError) { pause(error) }
    func unixListener(_ listener: UnixListener, pausedFor error: UVError) { pause(error) }

    private func pause(_ error: UVError) {
        pauses.append(error)
        onPaused()
    }

    private func accept(_ stream: TCPStream, _ address: TransportAddress?) {
        stream.delegate = peer
        streams.append(stream)
        stream.startReading()
        onAccepted(stream, address)
    }
}

/// Two ends of a connection over loopback.
final class Connection {
    let here: Peer
    let there: Peer
    let door: Door
    let listener: TCPListener
    let near: TCPStream
    var far: TCPStream? { door.streams.first }

    init(_ test: TestLoop, ip: IPAddress = .loopbackV4) throws {
        here = test.peer()
        there = test.peer()
        door = test.door(there)
        listener = try TCPListener(
            loop: test.loop, address: TransportAddress(ip, port: 0), readPool: test.loop.buffers, delegate: door)
        let address = try #require(listener.localAddress)
        near = try TCPStream.connect(loop: test.loop, to: address, readPool: test.loop.buffers, delegate: here)
        near.startReading()
    }

    func close() {
        near.close()
        for stream in door.streams { stream.close() }
        listener.close()
    }
}

/// Endless bytes of which any part can be made and checked by its place: a run of random bytes, of prime length, again
/// and again.
struct Pattern {
    private static let period = 65_521
    private let bytes: [UInt8]

    init(seed: UInt64 = 1) {
        var random = SplitMix(state: seed)
        var once: [UInt8] = []
        once.reserveCapacity(Pattern.period)
        while once.count < Pattern.period {
            withUnsafeBytes(of: random.next()) { once.append(contentsOf: $0.prefix(Pattern.period - once.count)) }
        }
        bytes = once + once + once + once
    }

    /// Up to 191 KiB from a place on.
    func withBytes<R>(at place: Int, count: Int, _ body: (RawSpan) -> R) -> R {
        let start = place % Pattern.period
        return bytes.withUnsafeBytes {
            body(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: $0[start..<start + count])))
        }
    }

    func slice(at place: Int, count: Int, from pool: BufferPool) -> Slice {
        var slice = pool.lease()
        slice.truncate(to: count)
        withBytes(at: place, count: count) { bytes in
            slice.withUnsafeMutableBytes { room in bytes.withUnsafeBytes { room.copyMemory(from: $0) } }
        }
        return slice
    }

    func matches(_ received: RawSpan, at place: Int) -> Bool {
        withBytes(at: place, count: received.byteCount) { expected in
            expected.withUnsafeBytes { a in
                received.withUnsafeBytes { b in
                    guard let a = a.baseAddress, let b = b.baseAddress else { return received.byteCount == 0 }
                    return memcmp(a, b, received.byteCount) == 0
                }
            }
        }
    }
}

/// A small random generator with a seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension EventLoop {
    /// A slice with these bytes.
    func slice(_ text: String) -> Slice { buffers.lease(copying: Array(text.utf8).rawSpan) }
}

extension Slice {
    /// The bytes as text.
    borrowing func text() -> String { withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
}

/// A closure as a task.
final class AtTurnEnd: TurnEndTask {
    private let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
    func turnEnded() { body() }
}

/// A timer with a closure.
final class Clock: LoopTimerDelegate {
    private(set) var timer: LoopTimer?
    private var body: () -> Void

    init(_ loop: EventLoop, _ body: @escaping () -> Void) {
        self.body = body
        timer = LoopTimer(loop: loop, delegate: self)
    }

    func timerFired(_ timer: LoopTimer) { body() }

    func clear() {
        timer?.close()
        body = {}
    }
}

/// Calls a closure at the end of each turn in which it was scheduled.
final class EveryTurn: TurnEndTask {
    private let loop: EventLoop
    private var body: () -> Void
    private var isScheduled = false

    init(_ loop: EventLoop, _ body: @escaping () -> Void) {
        self.loop = loop
        self.body = body
    }

    func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        loop.atTurnEnd(self)
    }

    func turnEnded() {
        isScheduled = false
        body()
    }

    func clear() { body = {} }
}
