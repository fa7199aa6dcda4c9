// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// A stream of another tunnel as what a carrier lies on. So the tunnel between two nodes runs through a relay, which
/// carries what it can't read.
///
/// What is read is decrypted where it lies and counts as consumed at once: the inner tunnel's own windows bound what it
/// makes of it. What is written waits in the outer tunnel, and no more is made than that has room for.
final class EndpointTransport {
    private let loop: EventLoop
    private var endpoint: Endpoint?
    private var carrier: Carrier?
    private var isQueued = false
    /// The carrier may have more to send than there was room for.
    private var hasMore = false
    private var isFinishing = false

    init(loop: EventLoop) { self.loop = loop }

    /// The endpoint is there. Its application is this object.
    func join(_ endpoint: Endpoint) {
        self.endpoint = endpoint.hasEnded ? nil : endpoint
    }

    private func queueUp() {
        guard !isQueued else { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    private func writeOutput(_ carrier: Carrier, _ endpoint: Endpoint) {
        while endpoint.sendRoom > 0 {
            var output = OutputBuffer(from: loop.carrierBuffers)
            carrier.fill(&output)
            guard !output.isEmpty else {
                hasMore = false
                if isFinishing { endpoint.finishSending() }
                return
            }
            endpoint.send(output.takeAll())
        }
    }
}

extension EndpointTransport: CarrierTransport {
    var remoteAddress: TransportAddress? { nil }

    func begin(for carrier: Carrier) { self.carrier = carrier }

    func write(_ bytes: consuming Slice) { endpoint?.send(bytes) }

    func setNeedsOutput() {
        hasMore = true
        queueUp()
    }

    func finishWriting() {
        isFinishing = true
        setNeedsOutput()
    }

    func close() {
        carrier = nil
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.reset(.noError)
    }

    /// The outer tunnel watches the path.
    func watch(_ interval: Duration) {}
}

extension EndpointTransport: TurnEndTask {
    func turnEnded() {
        isQueued = false
        if let carrier, let endpoint { writeOutput(carrier, endpoint) }
    }
}

extension EndpointTransport: EndpointApplication {
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        let count = bytes.count
        carrier?.received(bytes)
        endpoint.consumed(count)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) { carrier?.receivedEnd() }

    func endpointSendRoom(_ endpoint: Endpoint) {
        if hasMore { queueUp() }
    }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        let carrier = self.carrier
        self.carrier = nil
        switch end {
        case .finished: carrier?.receivedEnd()
        case .reset(let code): carrier?.transportFailed(SessionFault(relayed: code))
        case .sessionTerminated(let reason):
            carrier?.transportFailed(
                SessionFault(.otherCommunicationError, "the session that carried it ended (\(reason))"))
        }
    }
}

extension SessionFault {
    /// The relay could not bring the two nodes together, or broke them apart.
    init(relayed code: EndpointResetCode) {
        switch code {
        case .unreachable: self.init(.otherCommunicationError, "the node is not connected to the relay")
        case .notAllowed: self.init(.providerOtherFailure, "the relay or the node does not allow it")
        case .refused: self.init(.providerOtherFailure, "the node takes no tunnels from other nodes")
        default: self.init(.otherCommunicationError, "the way through the relay broke: \(code)")
        }
    }
}
