// SPDX-License-Identifier: Apache-2.0

public import Primitives

extension Tunnel {
    /// Takes bytes that the carrier brought, in any pieces.
    /// - Throws: where the peer broke the protocol. The tunnel is of no use after that.
    public func receive(_ bytes: consuming Slice, now: Instant) throws(TunnelError) {
        self.now = now
        liveness.heard(now: now)
        while state != .ended {
            switch try reader.next(&bytes) {
            case .nothing: return
            case .data(let header, let piece, let last): try receiveData(header, piece, last: last)
            case .frame(let header, let payload): try receiveFrame(header, payload)
            case .assembled(let header, let payload): try receiveControl(header, payload.rawSpan)
            }
            if isAtJoin { try leaveRelay(bytes.count) }
        }
    }

    /// The relay has nothing more to say on this connection: whatever it puts behind JOINED it would say in the other node's
    /// name.
    private func leaveRelay(_ rest: Int) throws(TunnelError) {
        isAtJoin = false
        guard rest == 0 else { throw .protocolViolation("the relay sent \(rest) bytes behind JOINED") }
    }

    private func receiveFrame(_ header: FrameHeader, _ payload: consuming Slice) throws(TunnelError) {
        guard header.type == .datagram else { return try receiveControl(header, payload.bytes) }
        guard let stream = try liveStream(header), stream.kind == .datagram else { return }
        counters.datagramsReceived += 1
        stream.delegate?.stream(stream, received: payload)
    }

    // MARK: Data

    private func receiveData(_ header: FrameHeader, _ piece: consuming Slice, last: Bool) throws(TunnelError) {
        guard let stream = try liveStream(header) else { return }
        guard stream.kind == .stream, !stream.receivedEnd else {
            return refuse(stream, .protocolViolation)
        }
        let count = piece.count
        guard stream.window.receive(count) else { return refuse(stream, .flowControl) }
        counters.streamBytesReceived += UInt64(count)
        if count > 0 {
            stream.delegate?.stream(stream, received: piece)
            guard !stream.isGone else { return }
            owe(stream, urgent: stream.window.wantsCredit)
            if roundTrip.isStale(now: now) { ping() }
        }
        if last, header.flags.contains(.fin) { receiveEnd(of: stream) }
    }

    private func receiveEnd(of stream: TunnelStream) {
        stream.receivedEnd = true
        owe(stream, urgent: true)
        stream.delegate?.streamReceivedEnd(stream)
        finishIfDone(stream)
    }

    /// The stream broke its rules: it ends, and nothing else does.
    private func refuse(_ stream: TunnelStream, _ code: StreamResetCode) {
        sendControlFrame(.reset, stream: stream.id) { $0.write(code.rawValue) }
        counters.streamsReset += 1
        drop(stream) { $0.stream(stream, wasReset: code) }
    }

    /// The live stream that a frame concerns; nil where it is over, which is no fault: the frame was on its way.
    private func liveStream(_ header: FrameHeader) throws(TunnelError) -> TunnelStream? {
        guard state == .open || state == .draining else {
            throw .protocolViolation("a frame of type \(header.type.rawValue) came before the introduction")
        }
        if let stream = streams[header.stream] { return stream }
        let isOwn = header.stream & 1 == nextStreamID & 1
        let wasUsed = isOwn ? header.stream < nextStreamID : header.stream <= highestPeerStreamID
        guard header.stream != 0, wasUsed else {
            throw .protocolViolation(
                "a frame of type \(header.type.rawValue) names stream \(header.stream), which was never opened")
        }
        return nil
    }

    // MARK: Credit

    /// The stream owes the peer a CREDIT: at once, or within the reporting time.
    private func owe(_ stream: TunnelStream, urgent: Bool) {
        if urgent, !stream.creditIsUrgent {
            stream.creditIsUrgent = true
            stream.owesCredit = true
            owingUrgently.append(stream)
            announceOutput()
        } else if !stream.owesCredit {
            stream.owesCredit = true
            owing.append(stream)
            if creditDeadline == nil, !creditIsDue { creditDeadline = now + Chosen.reportWithin }
        }
    }

    func consumed(_ count: Int, on stream: TunnelStream) {
        stream.window.consume(count)
        let growth = stream.window.tune(
            roundTrip: roundTrip.least, largest: limits.largestWindow,
            allowance: limits.queuedBytes - windowGrowth, now: now)
        windowGrowth += growth
        guard !stream.receivedEnd, stream.window.wantsCredit else { return }
        owe(stream, urgent: true)
    }

    private func receiveCredit(_ stream: TunnelStream, _ header: FrameHeader, _ reader: inout ByteReader)
        throws(TunnelError)
    {
        guard let granted = try? reader.readUInt64(), let received = try? reader.readUInt64() else {
            throw .protocolViolation("CREDIT is too short")
        }
        guard let freed = stream.queue.acknowledge(received) else {
            throw .protocolViolation("CREDIT for stream \(stream.id) confirms bytes that were never sent")
        }
        held -= freed
        stream.creditLimit = max(stream.creditLimit, granted)
        recount(stream)
        if header.flags.contains(.fin), stream.sending == .ended, stream.queue.held == 0 { stream.sending = .done }
        if finishIfDone(stream) { return feedStarved() }
        keepWarm(stream)
        becameReady(stream)
        feed(stream)
        feedStarved()
    }

    // MARK: Control

    private func receiveControl(_ header: FrameHeader, _ payload: RawSpan) throws(TunnelError) {
        guard control.count <= limits.controlQueue else {
            throw .protocolViolation("frames that want an answer come faster than their answers are read")
        }
        var reader = ByteReader(payload)
        switch header.type {
        case .hello, .welcome, .goAway, .join, .joined: try receiveIntroduction(header, &reader)
        case .ping, .pong: try receiveEcho(header, &reader)
        case .open: try receiveOpen(header, &reader)
        case .opened, .credit, .reset:
            guard let stream = try liveStream(header) else { return }
            try receiveStreamControl(stream, header, &reader)
        case .expose, .exposed, .unexpose, .reach, .reached, .signal, .meet:
            try receiveRequest(header, &reader)
        case _ where header.flags.contains(.skippable): break
        default: throw .protocolViolation("frames of type \(header.type.rawValue) are not known here")
        }
    }

    private func receiveIntroduction(_ header: FrameHeader, _ reader: inout ByteReader) throws(TunnelError) {
        switch (header.type, role, state) {
        case (.hello, .accepting, .new):
            let hello: Hello = try decode(header, &reader)
            state = .introduced
            peerCapabilities = hello.capabilities
            peerStreamLimit = Int(hello.streams)
            peerEarlyWindow = Int(clamping: min(hello.earlyWindow, UInt64(limits.largestWindow)))
            delegate?.tunnel(self, received: hello)
        case (.welcome, .dialing, .introduced):
            let welcome: Welcome = try decode(header, &reader)
            guard welcome.version == Tunnel.version else {
                throw TunnelError(
                    code: .versionUnsupported,
                    message:
                        "the peer chose version \(welcome.version) of the protocol; this node speaks \(Tunnel.version)")
            }
            state = .open
            peerCapabilities = welcome.capabilities
            peerStreamLimit = Int(welcome.streams)
            peerEarlyWindow = Int(clamping: min(welcome.earlyWindow, UInt64(limits.largestWindow)))
            liveness.interval = min(max(welcome.livenessInterval, .milliseconds(100)), .seconds(600))
            liveness.heard(now: now)
            ping()
            delegate?.tunnel(self, received: welcome)
        case (.join, .accepting, .new):
            let request: JoinRequest = try decode(header, &reader)
            state = .introduced
            delegate?.tunnel(self, received: request)
        case (.joined, _, .joining):
            state = .new
            isAtJoin = true
            delegate?.tunnelJoined(self)
        case (.goAway, _, _):
            let goAway: GoAway = try decode(header, &reader)
            if state == .open { state = .draining }
            delegate?.tunnel(self, received: goAway)
        default:
            throw .protocolViolation("a frame of type \(header.type.rawValue) came where none may come")
        }
    }

    private func receiveEcho(_ header: FrameHeader, _ reader: inout ByteReader) throws(TunnelError) {
        guard header.length == 8, let token = try? reader.readUInt64() else {
            throw .protocolViolation("PING and PONG carry 8 bytes, not \(header.length)")
        }
        if header.type == .pong {
            if let time = roundTrip.received(token, now: now) { delegate?.tunnel(self, measuredRoundTrip: time) }
            return
        }
        sendControlFrame(.pong) { $0.write(token) }
    }

    private func receiveOpen(_ header: FrameHeader, _ reader: inout ByteReader) throws(TunnelError) {
        guard state == .open || state == .draining else {
            throw .protocolViolation("OPEN came before the introduction")
        }
        let id = header.stream
        guard id > highestPeerStreamID, id & 1 != nextStreamID & 1, id != 0 else {
            throw .protocolViolation("OPEN names stream \(id), which is not a new one of the peer's")
        }
        let request: OpenRequest = try decode(header, &reader)
        highestPeerStreamID = id
        guard state == .open else { return sendReset(id, .sessionEnded) }
        guard peerStreams < limits.streams, opens.take(now: now) else { return sendReset(id, .limit) }
        let window = ReceiveWindow(size: limits.earlyWindow, now: now)
        let stream = TunnelStream(
            id: id, kind: request.kind, creditLimit: request.window, window: window, tunnel: self)
        streams[id] = stream
        peerStreams += 1
        counters.streamsAccepted += 1
        delegate?.tunnel(self, opened: stream, request: request)
    }

    private func receiveStreamControl(
        _ stream: TunnelStream, _ header: FrameHeader, _ reader: inout ByteReader
    ) throws(TunnelError) {
        switch header.type {
        case .credit: try receiveCredit(stream, header, &reader)
        case .reset:
            guard let code = try? reader.readUInt32() else { throw .protocolViolation("RESET is too short") }
            drop(stream) { $0.stream(stream, wasReset: StreamResetCode(rawValue: code)) }
            feedStarved()
        default:
            guard !stream.isAccepted, stream.id & 1 == nextStreamID & 1 else {
                throw .protocolViolation("OPENED names stream \(stream.id), which is not waiting for it")
            }
            guard let window = try? reader.readUInt64() else { throw .protocolViolation("OPENED is too short") }
            stream.isAccepted = true
            stream.creditLimit = max(stream.creditLimit, window)
            recount(stream)
            stream.delegate?.streamOpened(stream)
            becameReady(stream)
            feed(stream)
            feedStarved()
        }
    }

    private func receiveRequest(_ header: FrameHeader, _ reader: inout ByteReader) throws(TunnelError) {
        guard state == .open || state == .draining else {
            throw .protocolViolation("a frame of type \(header.type.rawValue) came before the introduction")
        }
        switch header.type {
        case .expose: delegate?.tunnel(self, received: try decode(header, &reader) as ExposeRequest)
        case .exposed: delegate?.tunnel(self, received: try decode(header, &reader) as ExposeAnswer)
        case .reach: delegate?.tunnel(self, received: try decode(header, &reader) as ReachRequest)
        case .reached: delegate?.tunnel(self, received: try decode(header, &reader) as ReachAnswer)
        case .signal: delegate?.tunnel(self, received: try decode(header, &reader) as Signal)
        case .meet: delegate?.tunnel(self, received: try decode(header, &reader) as Meet)
        default:
            guard let id = try? reader.readUInt32() else { throw .protocolViolation("UNEXPOSE is too short") }
            delegate?.tunnel(self, unexpose: id)
        }
    }

    private func decode<Payload: FramePayload>(
        _ header: FrameHeader, _ reader: inout ByteReader
    ) throws(TunnelError) -> Payload {
        do {
            return try Payload.read(from: &reader)
        } catch {
            throw .protocolViolation("the payload of a frame of type \(header.type.rawValue) can't be read: \(error)")
        }
    }
}
