// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Identity
public import Primitives
public import TLS
public import Tunneling

/// What this node brings to its tunnels with other nodes.
public struct PeerConfiguration: Sendable {
    public var node: NodeID
    /// How this node calls itself; the other one believes the relay and its own list of known nodes.
    public var nodeName: String
    /// For the tunnels that this node makes, and for those that others make.
    public var clientContext: TLSContext
    public var serverContext: TLSContext
    public var limits: TunnelLimits
    /// How long TLS and the introduction may take together.
    public var handshakeTimeout: Duration
    public var livenessInterval: Duration

    public init(
        node: NodeID, nodeName: String, clientContext: TLSContext, serverContext: TLSContext, limits: TunnelLimits,
        handshakeTimeout: Duration, livenessInterval: Duration = .seconds(15)
    ) {
        self.node = node
        self.nodeName = nodeName
        self.clientContext = clientContext
        self.serverContext = serverContext
        self.limits = limits
        self.handshakeTimeout = handshakeTimeout
        self.livenessInterval = livenessInterval
    }
}

/// Is told what becomes of a tunnel with another node.
public protocol PeerProviderDelegate: AnyObject {
    /// The other node has proven its key: answer with ``PeerProvider/admit()`` or ``PeerProvider/refuse(_:)``, now or
    /// later. Only where the other node made the tunnel.
    func peerProvider(_ provider: PeerProvider, identified node: NodeID)
    /// The session is active.
    func peerProviderActive(_ provider: PeerProvider)
    func peerProvider(_ provider: PeerProvider, measuredRoundTrip time: Duration)
    /// Where the other node takes a direct connection, as it says.
    func peerProvider(_ provider: PeerProvider, received signal: Signal)
    /// The other node wants to meet at the relay.
    func peerProvider(_ provider: PeerProvider, received meet: Meet)
    /// The session is over; its endpoints were told.
    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String)
}

/// The provider that carries traffic to one other node, sealed from this node's key to that one's: TLS 1.3 between the
/// two, inside a stream that the relay forwards and can't read, over packets that another provider carries, over a direct
/// connection, or over one that the relay has made of two.
public final class PeerProvider: TunnelProvider {
    public weak var delegate: (any PeerProviderDelegate)?
    /// The other node, once it has proven its key.
    public private(set) var node: NodeID?
    /// Its transport ID and its key's fingerprint, as they are written: every stream asks for them. Empty before that.
    public var identities: [String] {
        if writtenIdentities.isEmpty, let node { writtenIdentities = [remote.description, node.description] }
        return writtenIdentities
    }
    private var writtenIdentities: [String] = []
    /// What this side calls it: the relay's word, held against the list of known nodes.
    public var nodeName = ""
    /// Whether this side made the tunnel.
    public let isDialing: Bool

    /// The other end of a direct connection.
    public private(set) var directAddress: TransportAddress?

    private let configuration: PeerConfiguration
    private let beginning: Beginning
    private var dialer: Dialer?
    private var activation: PendedCall?

    private enum Beginning {
        /// On what is there, or is made by the call.
        case over(any CarrierTransport, dial: (() throws(PlatformError) -> Void)?)
        /// On a connection to the first of these addresses that answers.
        case connecting(to: [TransportAddress])
        /// On a connection to the relay, which makes one of it and the other node's.
        case joining(JoinedPath)
        /// On a carrier on which the other node has introduced itself.
        case arrived(Carrier)
    }

    private init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration, isDialing: Bool, _ beginning: Beginning
    ) {
        self.configuration = configuration
        self.isDialing = isDialing
        self.beginning = beginning
        super.init(loop: loop, local: TransportID(configuration.node.transportAddress), remote: remote)
    }

    /// The tunnel is made by this side.
    /// - Parameter dial: opens a stream to the node, of which the argument is the application.
    public convenience init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration,
        dial: @escaping (any EndpointApplication) throws(PlatformError) -> Endpoint
    ) {
        let transport = EndpointTransport(loop: loop)
        self.init(
            loop: loop, remote: remote, configuration: configuration, isDialing: true,
            .over(transport, dial: { () throws(PlatformError) in transport.join(try dial(transport)) }))
    }

    /// The tunnel is made by the other side, which has opened `endpoint` for it. Becomes the endpoint's application.
    public convenience init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration, accepting endpoint: Endpoint
    ) {
        let transport = EndpointTransport(loop: loop)
        self.init(
            loop: loop, remote: remote, configuration: configuration, isDialing: false, .over(transport, dial: nil))
        endpoint.application = transport
        transport.join(endpoint)
    }

    /// The tunnel lies on packets that a provider carries; this side has made the connection, or the other one.
    public convenience init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration, over transport: PacketTransport,
        isDialing: Bool
    ) {
        self.init(
            loop: loop, remote: remote, configuration: configuration, isDialing: isDialing, .over(transport, dial: nil))
    }

    /// The tunnel lies on a direct connection, which this side makes to the first of the node's addresses that answers.
    public convenience init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration,
        connectingTo addresses: [TransportAddress]
    ) {
        self.init(
            loop: loop, remote: remote, configuration: configuration, isDialing: true, .connecting(to: addresses))
    }

    /// The tunnel lies on a connection to the relay, which makes one of it and the other node's.
    /// - Parameter isDialing: the other side must say the contrary.
    public convenience init(
        loop: EventLoop, configuration: PeerConfiguration, joining path: JoinedPath, isDialing: Bool
    ) {
        self.init(
            loop: loop, remote: TransportID(path.node.transportAddress), configuration: configuration,
            isDialing: isDialing, .joining(path))
    }

    /// The tunnel lies on a direct connection that the other side has made: it has proven its key and introduced itself. Call
    /// ``admit()`` once the session has begun.
    init(
        loop: EventLoop, configuration: PeerConfiguration, arrived carrier: Carrier, from address: TransportAddress,
        node: NodeID
    ) {
        self.configuration = configuration
        isDialing = false
        beginning = .arrived(carrier)
        super.init(
            loop: loop, local: TransportID(configuration.node.transportAddress),
            remote: TransportID(node.transportAddress))
        self.node = node
        directAddress = address
    }

    /// How long the provider may take to become active, so that its call's deadline is behind every other.
    public static func patience(for configuration: PeerConfiguration) -> Duration { configuration.handshakeTimeout * 2 }

    // MARK: Session

    public override func transitionActive(call: PendedCall) -> CallOutcome {
        switch beginning {
        case .over(let transport, let dial):
            activation = call
            return begin(over: transport, dial)
        case .connecting(let addresses):
            activation = call
            connect(to: addresses.map { HostAndPort(host: "\($0.ip)", port: $0.port) })
            return .pending
        case .joining(let path):
            activation = call
            connect(to: path.addresses)
            return .pending
        case .arrived(let carrier):
            take(carrier)
            return .completed
        }
    }

    private func connect(to targets: [HostAndPort]) {
        let dialer = Dialer(
            loop: loop, targets: targets, timeout: configuration.handshakeTimeout, patience: HappyEyeballs.delay,
            readPool: loop.carrierBuffers, delegate: self)
        self.dialer = dialer
        dialer.start()
    }

    private func take(_ carrier: Carrier) {
        self.carrier = carrier
        carrier.delegate = self
        carrier.tunnel.delegate = self
    }

    private func begin(
        over transport: any CarrierTransport, _ dial: (() throws(PlatformError) -> Void)?
    ) -> CallOutcome {
        // To a relay both sides are clients.
        let isClient = isDialing || joinedPath != nil
        do throws(TLSError) {
            take(
                try Carrier(
                    loop: loop, transport: transport,
                    context: isClient ? configuration.clientContext : configuration.serverContext,
                    role: isDialing ? .dialing : .accepting, limits: configuration.limits,
                    livenessInterval: configuration.livenessInterval,
                    patience: configuration.handshakeTimeout))
        } catch {
            return .failed(SessionFault(error))
        }
        do throws(PlatformError) {
            try dial?()
        } catch {
            return .failed(SessionFault(.otherCommunicationError, "the node can't be reached: \(error)"))
        }
        carrier?.start()
        return .pending
    }

    public override func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        dialer?.cancel()
        dialer = nil
        super.terminateSessionIndication(instance, reason: reason, message: message)
        delegate?.peerProviderEnded(self, reason: reason, message: message)
    }

    /// Ends the session in good order.
    public func leave(_ text: String) {
        tunnel?.goAway(GoAway(code: .shutdown, text: text))
        instance?.fail(SessionFault(.providerRequest, text), now: loop.now)
    }

    // MARK: Joining

    private var joinedPath: JoinedPath? {
        guard case .joining(let path) = beginning else { return nil }
        return path
    }

    private func join(_ path: JoinedPath, on carrier: Carrier, at relay: NodeID) throws(SessionFault) {
        guard relay == path.relay else {
            throw SessionFault(
                .providerOtherFailure, "the server has the key \(relay), not the relay's \(path.relay)")
        }
        carrier.tunnel.join(JoinRequest(token: path.meet.token, peer: remote.address))
    }

    /// From here on it is the other node that sends, or somebody who does not know the secret: his records can't be opened.
    public override func tunnelJoined(_ tunnel: Tunnel) {
        guard let path = joinedPath, let carrier else { return }
        do throws(TLSError) {
            try carrier.changeKeys(secret: path.meet.secret, suite: path.suite)
        } catch {
            return fail(SessionFault(error))
        }
        node = path.node
        if isDialing { introduce(on: carrier) }
    }

    public override func tunnel(_ tunnel: Tunnel, received meet: Meet) {
        delegate?.peerProvider(self, received: meet)
    }

    // MARK: Introduction

    public override func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {
        let peer = NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER)
        if let path = joinedPath { return try join(path, on: carrier, at: peer) }
        guard TransportID(peer.transportAddress) == remote else {
            throw SessionFault(
                .providerOtherFailure,
                "the other side has the key \(peer), whose transport ID is \(peer.transportAddress) and not \(remote): "
                    + "the relay has connected the wrong nodes, or somebody stands in between")
        }
        node = peer
        if isDialing { introduce(on: carrier) }
    }

    private func introduce(on carrier: Carrier) {
        carrier.tunnel.introduce(
            Hello(nodeName: configuration.nodeName, limits: configuration.limits), now: loop.now)
    }

    public override func tunnel(_ tunnel: Tunnel, received hello: Hello) {
        // That it may have a tunnel was decided where the two agreed on this one.
        guard joinedPath == nil else { return admit() }
        if let node { delegate?.peerProvider(self, identified: node) }
    }

    /// Lets the other node in.
    public func admit() {
        guard let carrier, !isDialing else { return }
        carrier.introductionEnded(livenessInterval: configuration.livenessInterval)
        carrier.tunnel.welcome(
            Welcome(
                nodeName: nodeName, transportIDs: [remote.address], observedAddress: .none,
                livenessInterval: configuration.livenessInterval, tunnelID: [], resumeToken: [],
                limits: configuration.limits),
            now: loop.now)
        becomeActive()
    }

    /// Tells the other node why it is not let in.
    public func refuse(_ text: String) {
        tunnel?.goAway(GoAway(code: .notAllowed, text: text))
        instance?.fail(SessionFault(.providerOtherFailure, text), now: loop.now)
    }

    public override func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {
        carrier?.introductionEnded(livenessInterval: welcome.livenessInterval)
        becomeActive()
    }

    private func becomeActive() {
        guard let instance else { return }
        if let activation { try? instance.complete(activation, .completed, now: loop.now) }
        activation = nil
        delegate?.peerProviderActive(self)
    }

    /// A datagram stream to no port carries packets (tunnel protocol, "Packets between nodes").
    override func kind(of request: OpenRequest) -> Endpoint.Kind {
        switch (request.kind, request.destination) {
        case (.stream, _): .stream
        case (.datagram, .none): .packet
        case (.datagram, _): .datagram
        }
    }

    public override func tunnel(_ tunnel: Tunnel, measuredRoundTrip time: Duration) {
        delegate?.peerProvider(self, measuredRoundTrip: time)
    }

    public override func tunnel(_ tunnel: Tunnel, received signal: Signal) {
        delegate?.peerProvider(self, received: signal)
    }
}

extension PeerProvider: DialerDelegate {
    func dialer(_ dialer: Dialer, connected stream: TCPStream) {
        self.dialer = nil
        if joinedPath == nil { directAddress = stream.remoteAddress }
        if case .failed(let fault) = begin(over: stream, nil) {
            stream.close()
            fail(fault)
        }
    }

    func dialer(_ dialer: Dialer, failed reasons: [String]) {
        self.dialer = nil
        let what = joinedPath == nil ? "the node can't be reached directly" : "the relay can't be reached"
        fail(SessionFault(.otherCommunicationError, "\(what): \(reasons.joined(separator: "; "))"))
    }
}
