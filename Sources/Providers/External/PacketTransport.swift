// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Primitives
public import Tunneling

/// What a tunnel to another node lies on where a provider carries packets to that node: a stream over packets
/// (``PacketStream``), in a packet endpoint of the provider's instance.
public final class PacketTransport {
    let stream: PacketStream
    let remote: TransportID

    private let loop: EventLoop
    private weak var links: PacketLinks?
    private var endpoint: Endpoint?
    private var carrier: Carrier?
    private var timer: LoopTimer?
    private var timerDeadline = Instant.distantFuture
    private var isQueued = false
    private var hasMore = false
    private var isFinishing = false

    init(loop: EventLoop, stream: PacketStream, remote: TransportID, links: PacketLinks) {
        self.loop = loop
        self.stream = stream
        self.remote = remote
        self.links = links
        stream.delegate = self
    }

    /// Whose packets it lies on; nil once it has ended.
    public internal(set) weak var instance: ProviderInstance?

    /// Its endpoint, whose application this is. It may still be opening.
    func join(_ endpoint: Endpoint) {
        self.endpoint = endpoint.hasEnded ? nil : endpoint
        timer = LoopTimer(loop: loop, delegate: self)
    }

    /// A packet of this stream. One that comes while the provider is still asked for the way back counts too.
    func received(_ packet: consuming Slice) {
        guard let endpoint else { return }
        if endpoint.isOpen { endpoint.indicateReceived(packet) } else { take(packet, endpoint) }
    }

    private func take(_ packet: consuming Slice, _ endpoint: Endpoint) {
        guard
            let (segment, count) = PacketSegment.read(
                packet.bytes, from: endpoint.remote.address, to: endpoint.local.address)
        else { return }
        packet.removeFirst(count)
        stream.receive(segment, packet, now: loop.now)
        queueUp()
    }

    private func queueUp() {
        guard !isQueued else { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    private func takeOutput(_ carrier: Carrier) {
        while hasMore, stream.sendRoom > 0 {
            var output = OutputBuffer(from: loop.carrierBuffers)
            carrier.fill(&output)
            guard !output.isEmpty else {
                hasMore = false
                if isFinishing { stream.finish() }
                return
            }
            stream.append(output.bytes)
        }
    }

    private func sendPackets(_ endpoint: Endpoint) {
        while true {
            var packet = OutputBuffer(from: loop.buffers)
            guard stream.fill(&packet, now: loop.now) else { return armTimer() }
            endpoint.send(packet.takeAll())
        }
    }

    /// The timer is moved only to an earlier time; one that fires too early looks again.
    private func armTimer() {
        guard let deadline = stream.nextDeadline, deadline < timerDeadline else { return }
        timerDeadline = deadline
        timer?.arm(at: deadline)
    }

    private func fail(_ fault: SessionFault) {
        let carrier = self.carrier
        letGo()
        carrier?.transportFailed(fault)
    }

    private func letGo() {
        carrier = nil
        timer?.close()
        timer = nil
        links?.remove(self)
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.reset(.noError)
    }
}

extension PacketTransport: CarrierTransport {
    public var remoteAddress: TransportAddress? { nil }

    public func begin(for carrier: Carrier) {
        self.carrier = carrier
        queueUp()
    }

    public func write(_ bytes: consuming Slice) {
        stream.append(bytes.bytes)
        queueUp()
    }

    public func setNeedsOutput() {
        hasMore = true
        queueUp()
    }

    public func finishWriting() {
        isFinishing = true
        setNeedsOutput()
    }

    public func close() {
        if let endpoint {
            var packet = OutputBuffer(from: loop.buffers)
            stream.writeReset(&packet)
            endpoint.send(packet.takeAll())
        }
        letGo()
    }

    public func watch(_ interval: Duration) {}
}

extension PacketTransport: TurnEndTask {
    public func turnEnded() {
        isQueued = false
        guard let endpoint else {
            return fail(SessionFault(.otherCommunicationError, "the provider does not reach the node"))
        }
        if let carrier { takeOutput(carrier) }
        if endpoint.isOpen { sendPackets(endpoint) }
    }
}

extension PacketTransport: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        timerDeadline = .distantFuture
        stream.handleTimeout(now: loop.now)
        queueUp()
    }
}

extension PacketTransport: PacketStreamDelegate {
    public func packetStream(_ stream: PacketStream, received bytes: consuming Slice) { carrier?.received(bytes) }

    public func packetStreamReceivedEnd(_ stream: PacketStream) { carrier?.receivedEnd() }

    public func packetStream(_ stream: PacketStream, failed why: PacketStreamFailure) {
        switch why {
        case .reset: fail(SessionFault(.otherCommunicationError, "the other node has let go of the connection"))
        case .silent: fail(SessionFault(.otherCommunicationError, "nothing that was sent has come to the other node"))
        }
    }
}

extension PacketTransport: EndpointApplication {
    public func endpointOpened(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        queueUp()
    }

    public func endpoint(_ endpoint: Endpoint, received packet: consuming Slice) {
        take(packet, endpoint)
    }

    public func endpointReceivedEnd(_ endpoint: Endpoint) {}

    public func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        switch end {
        case .finished: break
        case .reset(let code) where code == .unreachable:
            fail(SessionFault(.otherCommunicationError, "the provider does not reach the node"))
        case .reset(let code): fail(SessionFault(.otherCommunicationError, "the provider's endpoint broke: \(code)"))
        case .sessionTerminated(let reason):
            fail(SessionFault(.otherCommunicationError, "the session of the provider ended (\(reason))"))
        }
    }
}
