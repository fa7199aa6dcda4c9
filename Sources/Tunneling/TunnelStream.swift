// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What becomes of one stream. Every method is called on the tunnel's loop.
public protocol TunnelStreamDelegate: AnyObject {
    /// The peer accepted the stream that this side opened.
    func streamOpened(_ stream: TunnelStream)
    /// The next bytes, or one datagram. Whoever takes them says so with ``TunnelStream/consumed(_:)``.
    func stream(_ stream: TunnelStream, received bytes: consuming Slice)
    /// The peer sends no more; this side may go on.
    func streamReceivedEnd(_ stream: TunnelStream)
    /// ``TunnelStream/sendRoom`` is above zero again.
    func streamHasSendRoom(_ stream: TunnelStream)
    /// The stream is gone in both directions: the peer reset it, or the tunnel ended. The last call.
    func stream(_ stream: TunnelStream, wasReset code: StreamResetCode)
    /// Both sides have ended it and all that was sent is known to be received. The last call.
    func streamFinished(_ stream: TunnelStream)
}

/// One bidirectional stream of bytes, or one flow of datagrams, in a tunnel.
///
///     sending    open ──finish()──▶ ending ──FIN sent──▶ ended ──acknowledged──▶ done
///     receiving  open ──FIN received──▶ done
///
/// Gone when both are done, or at once by RESET from either side. A stream that ended its own half still receives, and the
/// reverse: half-close is passed on as it is.
public final class TunnelStream {
    public let id: UInt32
    public let kind: OpenRequest.Kind
    /// Told of what happens; kept until the stream is gone.
    public var delegate: (any TunnelStreamDelegate)?

    enum Sending { case open, ending, ended, done }
    var sending = Sending.open
    var receivedEnd = false
    var isGone = false
    /// Whether it was accepted: OPENED was sent or received.
    var isAccepted = false
    /// Whether it stands in the tunnel's list of those that have something to send.
    var isReady = false
    /// Whether the application was told to wait.
    var isStarved = false
    /// Whether it is in the tunnel's list of those that wait for the tunnel's own bound.
    var awaitsRoom = false
    /// Whether it is in the tunnel's list of those whose rings are kept warm.
    var isWarm = false
    /// Whether it owes the peer a CREDIT, and whether at once.
    var owesCredit = false
    var creditIsUrgent = false

    var queue = SendQueue()
    /// What of it the tunnel counts as waiting to be sent, and as stuck.
    var counted = 0
    var countedStuck = 0
    /// The highest offset that the peer lets this side send to.
    var creditLimit: UInt64
    var window: ReceiveWindow
    private unowned let tunnel: Tunnel

    init(id: UInt32, kind: OpenRequest.Kind, creditLimit: UInt64, window: ReceiveWindow, tunnel: Tunnel) {
        self.id = id
        self.kind = kind
        self.creditLimit = creditLimit
        self.window = window
        self.tunnel = tunnel
    }

    /// Bytes that may be sent now. One buffer more than that does no harm: it waits. At zero the application should stop
    /// reading its socket until ``TunnelStreamDelegate/streamHasSendRoom(_:)``. A datagram past it pushes out the oldest.
    public var sendRoom: Int {
        guard sending == .open, !isGone else { return 0 }
        guard kind == .stream else { return tunnel.datagrams.room }
        let credit = creditLimit > queue.end ? Int(clamping: creditLimit - queue.end) : 0
        return min(credit, max(0, Chosen.unsentBytes - queue.unsent), tunnel.sharedRoom)
    }

    /// Bytes that the credit lets go out now.
    var sendable: Int {
        let limit = min(queue.end, creditLimit)
        return limit > queue.sent ? Int(limit - queue.sent) : 0
    }

    /// Whether it has a frame to send now.
    var hasOutput: Bool { sendable > 0 || (sending == .ending && queue.unsent == 0) }

    /// Bytes that came and that the application has not taken.
    public var undelivered: Int { window.undelivered }

    /// Takes a buffer of the application's bytes, or one datagram, to be sent. Bytes are kept until the peer has them;
    /// datagrams are dropped, and counted, where there is no room.
    public func send(_ bytes: consuming Slice) {
        guard sending == .open, !isGone else { return }
        tunnel.send(bytes, on: self)
    }

    /// The application sends no more.
    public func finish() {
        guard sending == .open, !isGone else { return }
        sending = .ending
        tunnel.becameReady(self)
    }

    /// Ends the stream in both directions, at once. The delegate is not told.
    public func reset(_ code: StreamResetCode) {
        guard !isGone else { return }
        tunnel.reset(self, code: code)
    }

    /// Has the delegate of a datagram stream told once the tunnel has taken most of what waits to be sent.
    public func awaitSendRoom() {
        guard kind == .datagram, !isGone else { return }
        tunnel.awaitDatagramRoom(self)
    }

    /// Accepts a stream that the peer opened.
    public func accept() {
        guard !isAccepted, !isGone else { return }
        tunnel.accept(self)
    }

    /// The application has taken `count` of the bytes that it was given.
    public func consumed(_ count: Int) {
        guard !isGone, kind == .stream else { return }
        tunnel.consumed(count, on: self)
    }
}
