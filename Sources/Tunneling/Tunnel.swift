// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What happens on a tunnel. Every method is called on the tunnel's loop.
public protocol TunnelDelegate: AnyObject {
    /// There is something to send: call ``Tunnel/fill(_:through:now:)`` before the loop sleeps.
    func tunnelHasOutput(_ tunnel: Tunnel)
    /// The dialing side introduced itself: answer with ``Tunnel/welcome(_:now:)`` or ``Tunnel/goAway(_:)``.
    func tunnel(_ tunnel: Tunnel, received hello: Hello)
    /// The accepting side lets this node in.
    func tunnel(_ tunnel: Tunnel, received welcome: Welcome)
    /// The peer takes no new streams, or no session at all, and says why.
    func tunnel(_ tunnel: Tunnel, received goAway: GoAway)
    func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest)
    func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer)
    func tunnel(_ tunnel: Tunnel, unexpose id: UInt32)
    /// The peer asks who reaches a node: answer with ``Tunnel/answer(_:)-(ReachAnswer)``.
    func tunnel(_ tunnel: Tunnel, received reach: ReachRequest)
    func tunnel(_ tunnel: Tunnel, received reached: ReachAnswer)
    /// Where the peer takes a direct connection.
    func tunnel(_ tunnel: Tunnel, received signal: Signal)
    /// The peer wants to meet at the relay.
    func tunnel(_ tunnel: Tunnel, received meet: Meet)
    /// The dialing side wants its connection to be made one with another's: answer with ``Tunnel/joined()`` or
    /// ``Tunnel/goAway(_:)``.
    func tunnel(_ tunnel: Tunnel, received join: JoinRequest)
    /// The relay has made one connection of two. What comes next is the other node's, with its own keys.
    func tunnelJoined(_ tunnel: Tunnel)
    /// A PONG came in time.
    func tunnel(_ tunnel: Tunnel, measuredRoundTrip time: Duration)
    /// The peer opened a stream: set its delegate, then accept or reset it, now or later.
    func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest)
}

// Only the relay's, or the agents' ends have a use for these.
extension TunnelDelegate {
    public func tunnel(_ tunnel: Tunnel, received reach: ReachRequest) {}
    public func tunnel(_ tunnel: Tunnel, received reached: ReachAnswer) {}
    public func tunnel(_ tunnel: Tunnel, received signal: Signal) {}
    public func tunnel(_ tunnel: Tunnel, received meet: Meet) {}
    public func tunnel(_ tunnel: Tunnel, received join: JoinRequest) {
        tunnel.goAway(GoAway(code: .notAllowed, text: "connections are not joined here"))
    }
    public func tunnelJoined(_ tunnel: Tunnel) {}
    public func tunnel(_ tunnel: Tunnel, measuredRoundTrip time: Duration) {}
}

/// A durable association between two nodes: streams, datagrams and credit over a carrier (`tunnel-protocol.md`).
///
/// No I/O, no clock: it takes the carrier's bytes and the time, and gives bytes, events and a deadline.
///
///     dialing side    new ──HELLO sent──▶ introduced ──WELCOME──▶ open ──GOAWAY──▶ draining ──▶ ended
///     accepting side  new ──HELLO──▶ introduced ──WELCOME sent──▶ open ──GOAWAY──▶ draining ──▶ ended
///
/// Both sides of a joined connection are `joining` between JOIN and JOINED, and then new.
///
/// A ``TunnelError`` from ``receive(_:now:)`` means that the peer broke the protocol: say GOAWAY with its code and close.
public final class Tunnel {
    /// The version of the protocol that this code speaks.
    public static let version: UInt16 = 1

    public enum Role: Sendable { case dialing, accepting }
    public enum State: Sendable { case new, joining, introduced, open, draining, ended }

    public let role: Role
    public internal(set) var state = State.new
    public weak var delegate: (any TunnelDelegate)?
    public let limits: TunnelLimits

    /// Live streams by number.
    var streams: [UInt32: TunnelStream] = [:]
    var nextStreamID: UInt32
    /// The highest number that the peer has used; below it a number that is not live is one that is over.
    var highestPeerStreamID: UInt32 = 0
    var peerStreams = 0
    /// What the peer allows: from HELLO or WELCOME.
    var peerStreamLimit = 0
    var peerEarlyWindow = 0

    var reader: FrameReader
    /// For datagrams that came in pieces.
    let assemblyPool = BufferPool(capacity: Int(UInt16.max), keepsAtMost: 2)
    var control = ByteRing(keeping: 4_096)
    var datagrams: DatagramQueue
    var ready = Ring<TunnelStream>(keeping: 1_024)
    var owing = Ring<TunnelStream>(keeping: 1_024)
    var owingUrgently = Ring<TunnelStream>(keeping: 1_024)
    var starved: [TunnelStream] = []
    /// Datagram streams whose applications wait for room.
    var starvedOfDatagrams: [TunnelStream] = []
    /// Streams whose rings keep their memory, until they have been quiet for a while.
    var warm = Ring<TunnelStream>(keeping: 1_024)
    var warmDeadline: Instant?
    var creditDeadline: Instant?
    /// The deadline has passed: the CREDIT frames go out with the next output.
    var creditIsDue = false
    var liveness: Liveness
    var roundTrip = RoundTrip()
    var pingToken: UInt64 = 0
    var opens: TokenBucket
    var now: Instant
    /// Bytes that all streams hold: sent and not known to be received, or waiting.
    var held = 0
    /// Those of them that wait to be sent and may be: what waits for a reader that stalls must not hold the others up.
    var unsent = 0
    /// Those of them that may not be sent, since their reader stalls: at most a buffer a stream, and no part of what
    /// `limits.queuedBytes` bounds, or visitors enough that read nothing would stop all others.
    var stuck = 0
    /// Bytes by which the windows have grown past their first size.
    var windowGrowth = 0
    var turnHasDatagrams = false
    var announced = false
    /// JOINED came last.
    var isAtJoin = false
    public internal(set) var counters = TunnelCounters()
    /// What the peer can do, as it said when it introduced itself.
    public internal(set) var peerCapabilities: Capabilities = []

    public init(role: Role, limits: TunnelLimits, livenessInterval: Duration, now: Instant) {
        self.role = role
        self.limits = limits
        self.now = now
        nextStreamID = role == .dialing ? 1 : 2
        reader = FrameReader(largestControlFrame: limits.controlFrame, pool: assemblyPool)
        datagrams = DatagramQueue(bound: limits.datagramQueue)
        liveness = Liveness(interval: livenessInterval, now: now)
        opens = TokenBucket(
            rate: Double(limits.opensPerSecond), burst: Double(max(1, limits.opensPerSecond)), now: now)
    }

    /// Whether this side has used up its streams' numbers: they are not used twice, so only another tunnel has more.
    public var isUsedUp: Bool { nextStreamID >= UInt32.max - 2 }
    /// Streams that are live.
    public var streamCount: Int { streams.count }
    /// Whether one of them carries bytes in order, which come to an end: flows of datagrams only grow old.
    public var hasByteStreams: Bool { streams.values.contains { $0.kind == .stream } }
    /// The least round-trip time of late, where one was measured.
    public var roundTripTime: Duration? { roundTrip.least }
    /// Datagrams that were dropped for want of room.
    public var droppedDatagrams: UInt64 { datagrams.dropped }
    /// Bytes that the streams hold for the peer.
    public var heldBytes: Int { held }

    /// Room in the tunnel's own bounds, before which every stream waits.
    var sharedRoom: Int { max(0, min(limits.queuedBytes - (held - stuck), Chosen.unsentBytesOfAll - unsent)) }

    // MARK: Introduction

    /// The dialing side's first word.
    public func introduce(_ hello: Hello, now: Instant) {
        precondition(role == .dialing && state == .new, "HELLO is the dialing side's first frame")
        self.now = now
        state = .introduced
        sendControl(.hello, hello)
    }

    /// The accepting side's answer to HELLO: the node is admitted.
    public func welcome(_ welcome: Welcome, now: Instant) {
        guard role == .accepting, state == .introduced else { return }
        self.now = now
        state = .open
        liveness.interval = welcome.livenessInterval
        liveness.heard(now: now)
        sendControl(.welcome, welcome)
        ping()
    }

    /// No new streams, and why. Those that are open go on until the carrier is closed.
    public func goAway(_ goAway: GoAway) {
        guard state != .ended else { return }
        state = .draining
        sendControl(.goAway, goAway)
    }

    // MARK: Joining

    /// To a relay, before the introduction: makes one connection of this one and another node's. Nothing may be sent until
    /// the relay has done so.
    public func join(_ request: JoinRequest) {
        precondition(state == .new, "JOIN is the first frame")
        state = .joining
        sendControl(.join, request)
    }

    /// The relay's last word on the connection.
    public func joined() { sendControlFrame(.joined) { _ in } }

    /// Asks the other node to meet at the relay. One that does not know of it skips it.
    public func meet(_ meet: Meet) { sendControl(.meet, flags: .skippable, meet) }

    // MARK: Exposing

    public func expose(_ request: ExposeRequest) { sendControl(.expose, request) }
    public func answer(_ answer: ExposeAnswer) { sendControl(.exposed, answer) }
    public func unexpose(_ id: UInt32) {
        sendControlFrame(.unexpose) { $0.write(id) }
    }

    // MARK: Reaching

    /// Asks the relay about nodes.
    public func reach(_ request: ReachRequest) { sendControl(.reach, request) }
    /// Answers REACH: once for each node that was asked for.
    public func answer(_ answer: ReachAnswer) { sendControl(.reached, answer) }

    /// Tells the peer where it can reach this node directly. One that does not know of it skips it.
    public func signal(_ signal: Signal) { sendControl(.signal, flags: .skippable, signal) }

    /// Asks for a sign of life, and measures how long it takes.
    public func measureRoundTrip(now: Instant) {
        guard state == .open || state == .draining else { return }
        self.now = now
        ping()
    }

    // MARK: Streams

    /// Opens a stream to the peer. Bytes may be sent at once, as far as the peer's early window goes.
    /// - Returns: nil where the tunnel is not open, the peer allows no more streams, or does not read of those before.
    public func open(_ request: OpenRequest, delegate: any TunnelStreamDelegate, now: Instant) -> TunnelStream? {
        // Streams that come and go while the peer reads nothing leave frames behind; half of the bound is for answers.
        guard state == .open, streams.count - peerStreams < peerStreamLimit, !isUsedUp,
            control.count <= limits.controlQueue / 2
        else { return nil }
        self.now = now
        let window = ReceiveWindow(size: firstWindow, now: now)
        let stream = TunnelStream(
            id: nextStreamID, kind: request.kind, creditLimit: UInt64(peerEarlyWindow), window: window, tunnel: self)
        nextStreamID += 2
        stream.delegate = delegate
        streams[stream.id] = stream
        var request = request
        request.window = window.granted
        counters.streamsOpened += 1
        sendControl(.open, request, stream: stream.id)
        if stream.kind == .stream, stream.sendRoom == 0 { starve(stream) }
        return stream
    }

    /// The window that a new stream begins with: less where many streams share the bound.
    var firstWindow: Int {
        let fair = limits.queuedBytes / (4 * (streams.count + 1))
        return max(min(limits.firstWindow, fair), min(limits.firstWindow, 16 << 10))
    }

    /// Ends the tunnel: every stream is told, none of them may send or receive any more.
    public func end(_ code: StreamResetCode) {
        guard state != .ended else { return }
        state = .ended
        let live = streams.values.sorted { $0.id < $1.id }
        for stream in live { drop(stream) { $0.stream(stream, wasReset: code) } }
        ready.removeAll()
        owing.removeAll()
        owingUrgently.removeAll()
        starved = []
        starvedOfDatagrams = []
        warm.removeAll()
        warmDeadline = nil
    }
}

/// What a tunnel has carried. Plain integers, owned by the loop.
public struct TunnelCounters: Sendable {
    public var streamsOpened: UInt64 = 0
    public var streamsAccepted: UInt64 = 0
    public var streamsReset: UInt64 = 0
    public var streamBytesSent: UInt64 = 0
    public var streamBytesReceived: UInt64 = 0
    public var datagramsSent: UInt64 = 0
    public var datagramsReceived: UInt64 = 0
    public init() {}
}
