// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
internal import EventLoop
public import Primitives
public import Tunneling

/// What the two ends of a tunnel have in common: a provider whose endpoints are the streams of one tunnel.
///
/// The agent's end (``RelayProvider``) dials, the relay's end (``NodeProvider``) is born of a connection that was
/// admitted. Confined to its loop.
public class TunnelProvider: Provider, CarrierDelegate, TunnelDelegate {
    /// This node's transport ID, and the peer's.
    public let local: TransportID
    public let remote: TransportID
    public internal(set) var carrier: Carrier?
    public private(set) weak var instance: ProviderInstance?

    let loop: EventLoop
    /// Why the peer said that it goes, where it did.
    private(set) var farewell: GoAway?

    init(loop: EventLoop, local: TransportID, remote: TransportID) {
        self.loop = loop
        self.local = local
        self.remote = remote
    }

    /// The tunnel, while there is one.
    public final var tunnel: Tunnel? { carrier?.tunnel }

    /// Ends the session with the fault; the platform then tells the endpoints and this provider.
    final func fail(_ fault: SessionFault) { instance?.fail(fault, now: loop.now) }

    // MARK: Session

    public func establishSessionIndication(_ instance: ProviderInstance) { self.instance = instance }

    public func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        leave(reason: reason, message: message)
        try? instance.deregister(now: loop.now)
        try? instance.destroy()
    }

    /// Lets go of the carrier: with a goodbye where the peer can still hear it.
    final func leave(reason: SessionTerminationReason, message: String) {
        guard let carrier else { return }
        self.carrier = nil
        let tunnel = carrier.tunnel
        tunnel.delegate = nil
        if let code = reason.goAwayCode { tunnel.goAway(GoAway(code: code, text: message)) }
        tunnel.delegate = nil
        carrier.finish()
        tunnel.end(.sessionEnded)
    }

    public func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        id == remote ? .refused : .completed
    }

    public func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        id == remote ? .completed : .refused
    }

    public func transitionActive(call: PendedCall) -> CallOutcome { .completed }

    // MARK: Endpoints

    public final func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        guard let stream = endpoint.providerContext as? TunnelStream else { return .completed }
        stream.send(bytes)
        // Datagrams are dropped past the bound; packets have senders that can wait.
        if endpoint.kind != .datagram {
            endpoint.indicateSendRoom(stream.sendRoom)
            if endpoint.kind == .packet, endpoint.sendRoom == 0 { stream.awaitSendRoom() }
        }
        return .completed
    }

    public final func openEndpoint(_ endpoint: Endpoint) {
        guard let tunnel else { return endpoint.indicateReset(.sessionEnded) }
        let kind = OpenRequest.Kind(endpoint.kind)
        guard let destination = place(of: endpoint) else { return endpoint.indicateReset(.unreachable) }
        let request = OpenRequest(
            kind: kind, destination: destination, source: endpoint.source.map { .address($0) } ?? .none)
        guard let stream = tunnel.open(request, delegate: endpoint, now: loop.now) else {
            endpoint.indicateReset(.limit)
            if tunnel.isUsedUp { fail(SessionFault(.providerRequest, "its streams' numbers are used up")) }
            return
        }
        endpoint.providerContext = stream
        if endpoint.kind == .stream { endpoint.indicateSendRoom(stream.sendRoom) }
    }

    /// Where the endpoint leads, as the peer is told; nil for a host that nobody can have.
    private func place(of endpoint: Endpoint) -> TunnelAddress? {
        if endpoint.kind == .packet { return TunnelAddress.none }
        let wanted = endpoint.destination
        if let host = wanted.host {
            return HostAndPort.isResolvable(host) ? .host(HostAndPort(host: host, port: wanted.port)) : nil
        }
        return .address(TransportAddress(wanted.address ?? endpoint.remote.address, port: wanted.port))
    }

    public final func confirmEndpoint(_ endpoint: Endpoint) {
        (endpoint.providerContext as? TunnelStream)?.accept()
    }

    public final func finishSending(_ endpoint: Endpoint) {
        guard let stream = endpoint.providerContext as? TunnelStream else { return }
        if stream.kind == .stream { stream.finish() } else { stream.reset(.noError) }
    }

    public final func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {
        guard let stream = endpoint.providerContext as? TunnelStream else { return }
        stream.reset(StreamResetCode(rawValue: code.rawValue))
    }

    public final func endpoint(_ endpoint: Endpoint, consumed count: Int) {
        guard let stream = endpoint.providerContext as? TunnelStream else { return }
        stream.consumed(count)
    }

    // MARK: Carrier

    public func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {}

    public func carrier(_ carrier: Carrier, failed fault: SessionFault) {
        guard carrier === self.carrier else { return }
        // What the peer said before it went tells more than that it went.
        fail(farewell.map { SessionFault($0) } ?? fault)
    }

    // MARK: Tunnel

    public final func tunnelHasOutput(_ tunnel: Tunnel) { carrier?.setNeedsOutput() }

    public func tunnel(_ tunnel: Tunnel, received hello: Hello) {}
    public func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {}
    public func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {}
    public func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {}
    public func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {}
    public func tunnel(_ tunnel: Tunnel, received reach: ReachRequest) {}
    public func tunnel(_ tunnel: Tunnel, received reached: ReachAnswer) {}
    public func tunnel(_ tunnel: Tunnel, measuredRoundTrip time: Duration) {}
    public func tunnel(_ tunnel: Tunnel, received signal: Signal) {}
    public func tunnel(_ tunnel: Tunnel, received meet: Meet) {}
    public func tunnelJoined(_ tunnel: Tunnel) {}

    public func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {
        farewell = farewell ?? goAway
        // A peer that is only stopping lets its streams end; any other refuses this node here and now.
        if goAway.code != .shutdown { fail(SessionFault(goAway)) }
    }

    public final func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) {
        guard let instance else { return stream.reset(.sessionEnded) }
        guard let destination = destination(of: request) else { return stream.reset(.protocolViolation) }
        let source = source(of: request)
        do throws(EndpointResetCode) {
            let endpoint = try instance.indicateEndpoint(
                kind: kind(of: request), local: local, remote: remote,
                destination: destination, source: source, providerContext: stream)
            stream.delegate = endpoint
            if !endpoint.confirmsLater { stream.accept() }
            if request.kind == .stream { endpoint.indicateSendRoom(stream.sendRoom) }
        } catch {
            stream.reset(StreamResetCode(rawValue: error.rawValue))
        }
    }

    /// What the stream is to the platform.
    func kind(of request: OpenRequest) -> Endpoint.Kind { request.kind == .stream ? .stream : .datagram }

    /// Where the stream comes from, as far as the peer is to be believed: here it is.
    func source(of request: OpenRequest) -> TransportAddress? {
        guard case .address(let address) = request.source else { return nil }
        return address
    }

    /// This node's own transport ID stands for an address that the peer does not know. Nil for what can be no host's name.
    private func destination(of request: OpenRequest) -> EndpointDestination? {
        switch request.destination {
        case .none: return EndpointDestination(port: 0)
        case .host(let named):
            guard HostAndPort.isResolvable(named.host) else { return nil }
            return EndpointDestination(port: named.port, host: named.host)
        case .address(let address):
            return EndpointDestination(port: address.port, address: address.ip == local.address ? nil : address.ip)
        }
    }
}

extension OpenRequest.Kind {
    init(_ kind: Endpoint.Kind) {
        switch kind {
        case .stream: self = .stream
        case .datagram, .packet: self = .datagram
        }
    }
}

extension SessionTerminationReason {
    /// What the peer is told when a session ends for this reason; nil where it can't hear, or knows already.
    fileprivate var goAwayCode: GoAwayCode? {
        switch self {
        case .providerRequest, .platformShutdown: .shutdown
        case .providerTimeout, .providerOtherFailure, .otherCommunicationError: nil
        }
    }
}
