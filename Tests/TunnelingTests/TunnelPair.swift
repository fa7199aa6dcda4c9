// SPDX-License-Identifier: Apache-2.0

import Primitives

@testable import Tunneling

/// A reproducible source of randomness (SplitMix64). A failing test prints its seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The byte that stands at an offset of a stream's direction, so that a receiver can tell a lost, doubled or strayed byte.
func patternByte(stream: UInt32, fromDialer: Bool, offset: UInt64) -> UInt8 {
    let mixed = (offset &* 0x9E37_79B1) ^ (UInt64(stream) &* 0x85EB_CA6B) ^ (fromDialer ? 0x55 : 0xAA)
    return UInt8(truncatingIfNeeded: mixed ^ (mixed >> 13))
}

/// One end of a tunnel with an application on every stream.
final class TunnelEnd: TunnelDelegate, FrameSink {
    let tunnel: Tunnel
    let isDialer: Bool
    let pool = BufferPool(capacity: 128 << 10, keepsAtMost: 4)
    var applications: [UInt32: TestApplication] = [:]
    var welcomes: [Welcome] = []
    var goAways: [GoAway] = []
    var exposes: [ExposeRequest] = []
    var answers: [ExposeAnswer] = []
    var unexposed: [UInt32] = []
    var signals: [Signal] = []
    var reached: [ReachAnswer] = []
    var meetings: [Meet] = []
    var behaviour = TestApplication.Behaviour()
    /// Whether streams that the peer opens are accepted.
    var accepts = true
    /// Where set, it gets the streams that the peer opens.
    var counting: CountingApplication?

    init(role: Tunnel.Role, limits: TunnelLimits = TunnelLimits(), liveness: Duration = .seconds(15), now: Instant) {
        isDialer = role == .dialing
        tunnel = Tunnel(role: role, limits: limits, livenessInterval: liveness, now: now)
        tunnel.delegate = self
    }

    func append(_ bytes: RawSpan, to output: inout OutputBuffer) { output.append(bytes) }

    /// All that there is to send, in one piece.
    func output(now: Instant) -> [UInt8] {
        var all: [UInt8] = []
        while true {
            var buffer = OutputBuffer(from: pool)
            guard tunnel.fill(&buffer, through: self, now: now) else { return all }
            all.append(copying: buffer.bytes)
        }
    }

    func input(_ bytes: some Collection<UInt8>, now: Instant) throws(TunnelError) {
        let copy = Array(bytes)
        var start = 0
        while start < copy.count {
            let piece = Array(copy[start..<min(copy.count, start + pool.capacity)])
            start += piece.count
            try tunnel.receive(pool.lease(copying: piece.rawSpan), now: now)
        }
    }

    func open(_ kind: OpenRequest.Kind = .stream, now: Instant) -> TestApplication? {
        let request = OpenRequest(kind: kind, destination: .none, source: .none)
        let application = TestApplication(end: self, behaviour: behaviour)
        guard let stream = tunnel.open(request, delegate: application, now: now) else { return nil }
        application.stream = stream
        applications[stream.id] = application
        return application
    }

    func tunnelHasOutput(_ tunnel: Tunnel) {}
    func tunnel(_ tunnel: Tunnel, received hello: Hello) {
        tunnel.welcome(
            Welcome(
                nodeName: hello.nodeName, transportIDs: [.loopbackV6], observedAddress: .none,
                livenessInterval: .seconds(15), tunnelID: [1, 2, 3], resumeToken: [4], limits: tunnel.limits),
            now: tunnel.now)
    }
    func tunnel(_ tunnel: Tunnel, received welcome: Welcome) { welcomes.append(welcome) }
    func tunnel(_ tunnel: Tunnel, received goAway: GoAway) { goAways.append(goAway) }
    func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) { exposes.append(expose) }
    func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) { answers.append(exposed) }
    func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) { unexposed.append(id) }
    func tunnel(_ tunnel: Tunnel, received signal: Signal) { signals.append(signal) }
    func tunnel(_ tunnel: Tunnel, received reached: ReachAnswer) { self.reached.append(reached) }
    func tunnel(_ tunnel: Tunnel, received meet: Meet) { meetings.append(meet) }
    func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) {
        guard accepts else { return stream.reset(.refused) }
        if let counting {
            stream.delegate = counting
            return stream.accept()
        }
        let application = TestApplication(end: self, behaviour: behaviour)
        application.stream = stream
        applications[stream.id] = application
        stream.delegate = application
        stream.accept()
    }
}

/// An application on one end of one stream: sends a pattern, checks the pattern that it receives.
final class TestApplication: TunnelStreamDelegate {
    struct Behaviour {
        /// Bytes that each side sends before it ends its half.
        var total: UInt64 = 10_000
        /// Whether received bytes are taken at once, or when the test says so.
        var consumesAtOnce = true
        /// Whether it takes all the room that it is told of, there and then.
        var isGreedy = false
    }

    unowned let end: TunnelEnd
    var stream: TunnelStream?
    var behaviour: Behaviour
    var sent: UInt64 = 0
    var received: UInt64 = 0
    var waiting = 0
    var mismatchAt: UInt64?
    var datagrams: [[UInt8]] = []
    var wasOpened = false
    var receivedEnd = false
    var endedSending = false
    var toldOfRoom = 0
    var reset: StreamResetCode?
    var finished = false

    init(end: TunnelEnd, behaviour: Behaviour) {
        self.end = end
        self.behaviour = behaviour
    }

    /// Sends up to `limit` bytes of the pattern, as far as there is room.
    func pump(atMost limit: Int) {
        guard let stream, !endedSending, reset == nil else { return }
        let count = Int(min(UInt64(min(limit, stream.sendRoom)), behaviour.total - sent))
        if count > 0 {
            let start = sent
            let bytes = (0..<UInt64(count)).map {
                patternByte(stream: stream.id, fromDialer: end.isDialer, offset: start + $0)
            }
            sent += UInt64(count)
            stream.send(end.pool.lease(copying: bytes.rawSpan))
        }
        guard sent == behaviour.total else { return }
        endedSending = true
        stream.finish()
    }

    /// Sends one whole read buffer where there is any room at all, as a socket's reader does.
    func pumpPastRoom() {
        guard let stream, stream.sendRoom > 0 else { return }
        let bytes = (sent..<sent + 65_536).map { patternByte(stream: stream.id, fromDialer: end.isDialer, offset: $0) }
        sent += 65_536
        stream.send(end.pool.lease(copying: bytes.rawSpan))
    }

    func consume() {
        stream?.consumed(waiting)
        waiting = 0
    }

    func streamOpened(_ stream: TunnelStream) { wasOpened = true }
    func stream(_ stream: TunnelStream, received bytes: consuming Slice) {
        if stream.kind == .datagram {
            var copy: [UInt8] = []
            copy.append(copying: bytes.bytes)
            return datagrams.append(copy)
        }
        var reader = ByteReader(bytes.bytes)
        while let byte = try? reader.readUInt8() {
            if byte != patternByte(stream: stream.id, fromDialer: !end.isDialer, offset: received) {
                mismatchAt = mismatchAt ?? received
            }
            received += 1
        }
        waiting += bytes.count
        if behaviour.consumesAtOnce { consume() }
    }
    func streamReceivedEnd(_ stream: TunnelStream) { receivedEnd = true }
    func streamHasSendRoom(_ stream: TunnelStream) {
        toldOfRoom += 1
        while behaviour.isGreedy, stream.sendRoom > 0 { pumpPastRoom() }
    }
    func stream(_ stream: TunnelStream, wasReset code: StreamResetCode) { reset = code }
    func streamFinished(_ stream: TunnelStream) { finished = true }
}

/// Two ends and the wire between them. Time stands still unless the test moves it.
final class TunnelPair {
    var now = Instant(nanoseconds: 1_000_000_000)
    let dialer: TunnelEnd
    let acceptor: TunnelEnd

    init(limits: TunnelLimits = TunnelLimits(), introduced: Bool = true) throws {
        dialer = TunnelEnd(role: .dialing, limits: limits, now: now)
        acceptor = TunnelEnd(role: .accepting, limits: limits, now: now)
        guard introduced else { return }
        dialer.tunnel.introduce(Hello(nodeName: "home", limits: limits), now: now)
        try settle()
    }

    deinit { end() }

    /// Ends both tunnels, as a carrier does, so that streams and applications let each other go.
    func end() {
        for end in [dialer, acceptor] { end.tunnel.end(.sessionEnded) }
    }

    /// Carries bytes to and fro until both ends are silent.
    func settle() throws(TunnelError) {
        while try carry() {}
    }

    /// Carries what is there, once each way.
    func carry() throws(TunnelError) -> Bool {
        let up = dialer.output(now: now)
        try acceptor.input(up, now: now)
        let down = acceptor.output(now: now)
        try dialer.input(down, now: now)
        return !up.isEmpty || !down.isEmpty
    }

    func advance(_ duration: Duration) throws(TunnelError) {
        now = now + duration
        _ = dialer.tunnel.handleTimeout(now: now)
        _ = acceptor.tunnel.handleTimeout(now: now)
        try settle()
    }
}
