// SPDX-License-Identifier: Apache-2.0

public import Primitives

// How streams begin and end, and what time does.
extension Tunnel {
    /// When ``handleTimeout(now:)`` is to be called next. Ask again after every call of `receive` and `fill`.
    public var nextDeadline: Instant {
        var first = liveness.nextDeadline
        if let creditDeadline { first = min(first, creditDeadline) }
        if let warmDeadline { first = min(first, warmDeadline) }
        return first
    }

    /// Time has passed.
    /// - Returns: false where the peer was silent for too long: the carrier is dead.
    public func handleTimeout(now: Instant) -> Bool {
        self.now = now
        if let creditDeadline, now >= creditDeadline {
            self.creditDeadline = nil
            creditIsDue = true
            announceOutput()
        }
        if let warmDeadline, now >= warmDeadline { coolDown() }
        switch liveness.check(now: now) {
        case .alive: return true
        case .dead: return false
        case .ping:
            datagrams.releaseIfEmpty()
            _ = assemblyPool.trimUnused(keeping: 0)
            if state == .open || state == .draining { ping() }
            return true
        }
    }

    func accept(_ stream: TunnelStream) {
        stream.isAccepted = true
        let growth = max(0, firstWindow - stream.window.size)
        stream.window.widen(by: growth)
        let granted = stream.window.report().granted
        sendControlFrame(.opened, stream: stream.id) { $0.write(granted) }
        if stream.kind == .stream, stream.sendRoom == 0 { starve(stream) }
    }

    func reset(_ stream: TunnelStream, code: StreamResetCode) {
        counters.streamsReset += 1
        sendReset(stream.id, code)
        drop(stream) { _ in }
    }

    func sendReset(_ id: UInt32, _ code: StreamResetCode) {
        sendControlFrame(.reset, stream: id) { $0.write(code.rawValue) }
    }

    /// Both halves are over and all is known to be received: the stream goes.
    @discardableResult
    func finishIfDone(_ stream: TunnelStream) -> Bool {
        guard stream.receivedEnd, stream.sending == .done else { return false }
        drop(stream) { $0.streamFinished(stream) }
        return true
    }

    /// Takes the stream out of every table, then tells its delegate for the last time.
    func drop(_ stream: TunnelStream, _ tell: (any TunnelStreamDelegate) -> Void) {
        guard !stream.isGone else { return }
        stream.isGone = true
        streams[stream.id] = nil
        if stream.id & 1 != nextStreamID & 1 { peerStreams -= 1 }
        held -= stream.queue.held
        recount(stream)
        stream.queue.removeAll()
        windowGrowth = max(0, windowGrowth - stream.window.growth)
        let delegate = stream.delegate
        stream.delegate = nil
        if let delegate { tell(delegate) }
    }
}
