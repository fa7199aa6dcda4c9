// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Primitives

/// Is told what becomes of a link's packets.
protocol PacketLinkOwner: AnyObject {
    /// A packet of the other node's, behind its offload header. Gone after the call.
    func packetLink(_ link: PacketLink, received frame: RawSpan)
    /// There was no room for more, and now there is.
    func packetLinkHasRoom(_ link: PacketLink)
    /// A packet that waited for the way can't be brought to the node.
    func packetLink(_ link: PacketLink, cannotSend frame: RawSpan, _ failure: RouteFailure)
}

/// The way of packets to and from one other node: an endpoint of the tunnel with it, made when the first packet is to go
/// there, and ended when none has for a while. The other node may have made one too; what comes on either is received.
///
///     IDLE ──send──▶ OPENING ──opened──▶ OPEN ──ended──▶ IDLE
///                       └──failed──▶ FAILED ──a while──▶ IDLE
final class PacketLink {
    private enum State {
        case idle
        case opening
        case open(Endpoint)
        case failed(RouteFailure, until: Instant)
    }

    let peer: TransportID
    /// When it last carried a packet.
    var usedAt: Instant
    private var state = State.idle
    /// Endpoints that the other node has made.
    private var accepted: [Endpoint] = []
    /// Endpoints of the way before, on which something may still come, and until when they are kept.
    private var former: [Endpoint] = []
    private var formerUntil = Instant.distantFuture
    private var waiting = Ring<Slice>()
    private unowned let owner: any PacketLinkOwner

    /// Packets that wait while the way is made.
    private static let mostWaiting = 16
    /// For how long a node that could not be reached is not tried again.
    private static let failureLasts: Duration = .seconds(2)
    /// What is under way when packets take another way has so long to come in.
    private static let farewell: Duration = .seconds(5)

    init(peer: TransportID, owner: any PacketLinkOwner, now: Instant) {
        self.peer = peer
        self.owner = owner
        usedAt = now
    }

    /// Whether more than is sent now would have to wait.
    var isFull: Bool { if case .open(let endpoint) = state { endpoint.sendRoom == 0 } else { false } }
    /// Whether there is nothing to keep it for.
    func isForgettable(now: Instant) -> Bool {
        switch state {
        case .idle: accepted.isEmpty && former.isEmpty
        case .failed(_, let until): accepted.isEmpty && former.isEmpty && now >= until
        case .opening, .open: false
        }
    }

    // MARK: Sending

    /// What became of a packet.
    enum Outcome {
        case sent
        case full
        case unreachable(RouteFailure)
    }

    /// Sends a packet with its offload header, or keeps it until the way is there.
    func send(_ frame: consuming Slice, through router: any PacketRouter, now: Instant) -> Outcome {
        usedAt = now
        if case .failed(let failure, let until) = state {
            guard now >= until else { return .unreachable(failure) }
            state = .idle
        }
        switch state {
        case .open(let endpoint):
            guard endpoint.sendRoom > 0 else { return .full }
            endpoint.send(frame)
            return .sent
        case .opening: return wait(frame)
        case .idle, .failed:
            let outcome = wait(frame)
            begin(router)
            return outcome
        }
    }

    private func wait(_ frame: consuming Slice) -> Outcome {
        guard waiting.count < Self.mostWaiting else { return .full }
        waiting.append(frame)
        return .sent
    }

    private func begin(_ router: any PacketRouter) {
        state = .opening
        if let endpoint = accepted.first(where: { $0.isOpen }) { return opened(endpoint) }
        router.openPackets(to: peer, application: self) { [weak self] result in
            guard let self, case .failure(let failure) = result else { return }
            self.failed(failure)
        }
    }

    /// There is a better way to the node: what goes there from here on takes it, and nothing that is under way is lost.
    func takeAnotherWay(now: Instant) {
        guard case .open(let endpoint) = state else { return }
        state = .idle
        former += accepted + (accepted.contains { $0 === endpoint } ? [] : [endpoint])
        accepted = []
        formerUntil = now + Self.farewell
        owner.packetLinkHasRoom(self)
    }

    private func opened(_ endpoint: Endpoint) {
        guard case .opening = state else { return }
        state = .open(endpoint)
        while let frame = waiting.popFirst() { endpoint.send(frame) }
    }

    private func failed(_ failure: RouteFailure) {
        guard case .opening = state else { return }
        state = .failed(failure, until: usedAt + Self.failureLasts)
        while let frame = waiting.popFirst() { owner.packetLink(self, cannotSend: frame.bytes, failure) }
    }

    // MARK: Receiving

    /// The other node has made an endpoint for its packets.
    func accept(_ endpoint: Endpoint) {
        endpoint.application = self
        // A node that makes one after the other gives up those before.
        if accepted.count >= 4 { accepted.removeFirst().abandon(.limit) }
        accepted.append(endpoint)
    }

    // MARK: The end

    /// Ends what this node has made, once nothing was carried for a while.
    func endIfIdle(for time: Duration, now: Instant) {
        if now >= formerUntil { endFormer() }
        guard case .open(let endpoint) = state, now - usedAt >= time else { return }
        state = .idle
        if !accepted.contains(where: { $0 === endpoint }) { endpoint.abandon(.noError) }
    }

    private func endFormer() {
        formerUntil = .distantFuture
        let ended = former
        former = []
        for endpoint in ended { endpoint.abandon(.noError) }
    }

    func close() {
        endFormer()
        if case .open(let endpoint) = state { endpoint.abandon(.noError) }
        state = .idle
        for endpoint in accepted { endpoint.abandon(.noError) }
        accepted = []
        waiting.removeAll()
    }
}

extension PacketLink: EndpointApplication {
    func endpointOpened(_ endpoint: Endpoint) { opened(endpoint) }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        owner.packetLink(self, received: bytes.bytes)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointSendRoom(_ endpoint: Endpoint) { owner.packetLinkHasRoom(self) }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        let wasAccepted = accepted.contains { $0 === endpoint }
        let wasFormer = former.contains { $0 === endpoint }
        accepted.removeAll { $0 === endpoint }
        former.removeAll { $0 === endpoint }
        switch state {
        case .open(let mine) where mine === endpoint:
            state = .idle
            owner.packetLinkHasRoom(self)
        case .opening where !wasAccepted && !wasFormer: failed(RouteFailure(ending: end))
        default: break
        }
    }
}

extension RouteFailure {
    /// The endpoint for packets was not taken, or its session ended before it was.
    fileprivate init(ending end: EndpointEnd) {
        switch end {
        case .reset(.notAllowed), .reset(.refused): self.init(.refused, "the node has no adapter")
        case .reset(let code): self.init(code, "the node does not take packets: \(code)")
        case .finished, .sessionTerminated: self.init(.unreachable, "the tunnel to the node has ended")
        }
    }
}
