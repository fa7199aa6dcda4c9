// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What takes a tunnel's frames: a cipher, or a test.
public protocol FrameSink: AnyObject {
    /// Puts bytes behind those that were put before.
    func append(_ bytes: RawSpan, to output: inout OutputBuffer)
}

extension Tunnel {
    /// Gives what there is to send, up to 64 KiB of it: tunnel frames first, then credit, then data and datagrams in
    /// turns between the streams.
    /// - Returns: whether there was anything.
    public func fill(_ output: inout OutputBuffer, through sink: some FrameSink, now: Instant) -> Bool {
        self.now = now
        announced = false
        var left = Chosen.fill
        left -= fillControl(&output, sink, left)
        left -= fillCredit(&output, sink, left)
        left -= fillData(&output, sink, left)
        feedStarved()
        if !starvedOfDatagrams.isEmpty, datagrams.isLow { feedDatagramStreams() }
        return left < Chosen.fill
    }

    private func fillControl(_ output: inout OutputBuffer, _ sink: some FrameSink, _ limit: Int) -> Int {
        let count = min(limit, control.count)
        guard count > 0 else { return 0 }
        control.withBytes(at: 0, count: count) { sink.append($0, to: &output) }
        control.removeFirst(count)
        return count
    }

    /// CREDIT frames: at once where the peer waits for them, the others when their time has come.
    private func fillCredit(_ output: inout OutputBuffer, _ sink: some FrameSink, _ limit: Int) -> Int {
        var used = drainCredit(&owingUrgently, &output, sink, limit)
        guard creditIsDue || creditDeadline.map({ now >= $0 }) ?? false else { return used }
        used += drainCredit(&owing, &output, sink, limit - used)
        creditIsDue = !owing.isEmpty
        creditDeadline = nil
        return used
    }

    private func drainCredit(
        _ owing: inout Ring<TunnelStream>, _ output: inout OutputBuffer, _ sink: some FrameSink, _ limit: Int
    ) -> Int {
        let frame = FrameHeader.size + 16
        var used = 0
        while used + frame <= limit, let stream = owing.popFirst() {
            guard stream.owesCredit else { continue }
            sink.appendCredit(of: stream, to: &output)
            used += frame
        }
        return used
    }

    private func fillData(_ output: inout OutputBuffer, _ sink: some FrameSink, _ limit: Int) -> Int {
        var left = limit
        while left > FrameHeader.size, !ready.isEmpty || !datagrams.isEmpty {
            if !datagrams.isEmpty, turnHasDatagrams || ready.isEmpty {
                // One that does not fit behind the rest is the first of the next filling, and then it does.
                guard datagrams.firstFrame <= left || left == limit else { break }
                turnHasDatagrams = false
                let most = ready.isEmpty ? left : min(left, Chosen.sharedFramePayload)
                left -= datagrams.send(atMost: most) { sink.append($0, to: &output) }
                continue
            }
            turnHasDatagrams = true
            guard let stream = ready.popFirst() else { continue }
            stream.isReady = false
            left -= fillStream(stream, &output, sink, left)
        }
        return limit - left
    }

    private func fillStream(
        _ stream: TunnelStream, _ output: inout OutputBuffer, _ sink: some FrameSink, _ limit: Int
    ) -> Int {
        guard !stream.isGone, stream.hasOutput else { return 0 }
        let isAlone = ready.isEmpty && datagrams.isEmpty
        let most = min(limit - FrameHeader.size, isAlone ? Int(UInt16.max) : Chosen.sharedFramePayload)
        let count = min(stream.sendable, most)
        let isLast = stream.sending == .ending && count == stream.queue.unsent
        let header = FrameHeader(.data, flags: isLast ? .fin : [], length: count, stream: stream.id).wire.bigEndian
        withSpan(of: header) { sink.append($0, to: &output) }
        stream.queue.send(count) { sink.append($0, to: &output) }
        counters.streamBytesSent += UInt64(count)
        recount(stream)
        if isLast { stream.sending = .ended }
        if stream.hasOutput { becameReady(stream) }
        if stream.isStarved, stream.queue.unsent <= Chosen.unsentBytes / 2 { feed(stream) }
        return FrameHeader.size + count
    }

    /// The stream has a frame to send, if it has one.
    func becameReady(_ stream: TunnelStream) {
        guard !stream.isReady, stream.hasOutput else { return }
        stream.isReady = true
        ready.append(stream)
        announceOutput()
    }

    func announceOutput() {
        guard !announced else { return }
        announced = true
        delegate?.tunnelHasOutput(self)
    }

    /// Whether ``fill(_:through:now:)`` would give anything.
    public var hasOutput: Bool {
        !control.isEmpty || !ready.isEmpty || !datagrams.isEmpty || !owingUrgently.isEmpty
            || creditIsDue
    }

    /// Takes bytes of a stream, or a datagram.
    func send(_ bytes: consuming Slice, on stream: TunnelStream) {
        if stream.kind == .datagram {
            counters.datagramsSent += 1
            datagrams.append(bytes, stream: stream.id)
            announceOutput()
            return
        }
        held += bytes.count
        stream.queue.append(bytes)
        recount(stream)
        becameReady(stream)
        if stream.sendRoom == 0 { starve(stream) }
    }

    /// The stream's ring may be empty and hold memory. Asked only when bytes of it were confirmed: most streams that come
    /// and go have sent their last by then, and none of them has to stay for this.
    func keepWarm(_ stream: TunnelStream) {
        guard stream.sending == .open, stream.queue.isWarm, !stream.isWarm else { return }
        stream.isWarm = true
        warm.append(stream)
        if warmDeadline == nil { warmDeadline = now + Chosen.warmFor }
    }

    /// Takes the memory back from the rings of streams that have become quiet.
    func coolDown() {
        for _ in 0..<warm.count {
            guard let stream = warm.popFirst() else { break }
            stream.isWarm = !stream.isGone && !stream.queue.coolDown()
            if stream.isWarm { warm.append(stream) }
        }
        warmDeadline = warm.isEmpty ? nil : now + Chosen.warmFor
    }

    /// What the stream may send has changed.
    func recount(_ stream: TunnelStream) {
        let sendable = stream.isGone ? 0 : stream.sendable
        unsent += sendable - stream.counted
        stream.counted = sendable
        let stuck = stream.isGone ? 0 : stream.queue.unsent - sendable
        self.stuck += stuck - stream.countedStuck
        stream.countedStuck = stuck
    }

    /// The stream has no room: its application is told when it has.
    func starve(_ stream: TunnelStream) {
        stream.isStarved = true
        awaitRoom(stream)
    }

    /// Where it is the tunnel's own bound that holds a stream back, it goes on when that has room.
    private func awaitRoom(_ stream: TunnelStream) {
        if sharedRoom == 0 { queueUp(stream) }
    }

    private func queueUp(_ stream: TunnelStream) {
        guard !stream.awaitsRoom else { return }
        stream.awaitsRoom = true
        starved.append(stream)
    }

    /// Tells the application of a stream that it may go on, if it may, and where others wait when its turn has come: or
    /// those that move would take all the room, time and again, before those that stand still.
    func feed(_ stream: TunnelStream) {
        guard stream.isStarved else { return }
        if stream.sendRoom == 0 { awaitRoom(stream) } else if starved.isEmpty { tell(stream) } else { queueUp(stream) }
    }

    private func tell(_ stream: TunnelStream) {
        stream.isStarved = false
        stream.delegate?.streamHasSendRoom(stream)
    }

    /// The tunnel's own bound has room again: those that waited for it go on.
    func feedStarved() {
        guard !starved.isEmpty, held - stuck < limits.queuedBytes / 4 * 3, unsent <= Chosen.unsentBytesOfAll / 2 else {
            return
        }
        let waiting = starved
        starved = []
        var fed = 0
        while fed < waiting.count, sharedRoom > 0 {
            let stream = waiting[fed]
            fed += 1
            stream.awaitsRoom = false
            guard !stream.isGone, stream.isStarved else { continue }
            if stream.sendRoom > 0 { tell(stream) } else { awaitRoom(stream) }
        }
        // Those whose turn did not come stand before those that have had theirs and want more.
        if fed < waiting.count { starved = waiting[fed...] + starved }
    }

    func awaitDatagramRoom(_ stream: TunnelStream) {
        if !starvedOfDatagrams.contains(where: { $0 === stream }) { starvedOfDatagrams.append(stream) }
    }

    private func feedDatagramStreams() {
        let waiting = starvedOfDatagrams
        starvedOfDatagrams = []
        for stream in waiting where !stream.isGone { stream.delegate?.streamHasSendRoom(stream) }
    }

    // MARK: Control frames

    func sendControl(
        _ type: FrameType, flags: FrameFlags = [], _ payload: some FramePayload, stream: UInt32 = 0
    ) {
        sendControlFrame(type, flags: flags, stream: stream) { payload.write(to: &$0) }
    }

    func sendControlFrame(
        _ type: FrameType, flags: FrameFlags = [], stream: UInt32 = 0, _ body: (inout ByteWriter) -> Void
    ) {
        guard state != .ended else { return }
        var writer = ByteWriter()
        body(&writer)
        let header = FrameHeader(type, flags: flags, length: writer.count, stream: stream).wire.bigEndian
        withSpan(of: header) { control.append($0) }
        control.append(writer.bytes.rawSpan)
        announceOutput()
    }

    func ping() {
        pingToken &+= 1
        roundTrip.sent(pingToken, now: now)
        let token = pingToken
        sendControlFrame(.ping) { $0.write(token) }
    }
}

extension FrameSink {
    fileprivate func appendCredit(of stream: TunnelStream, to output: inout OutputBuffer) {
        stream.owesCredit = false
        stream.creditIsUrgent = false
        let (granted, received) = stream.window.report()
        let flags: FrameFlags = stream.receivedEnd ? .fin : []
        withSpan(of: FrameHeader(.credit, flags: flags, length: 16, stream: stream.id).wire.bigEndian) {
            append($0, to: &output)
        }
        withSpan(of: granted.bigEndian) { append($0, to: &output) }
        withSpan(of: received.bigEndian) { append($0, to: &output) }
    }
}
