// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Identity
internal import Primitives
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
    /// The session is over; its endpoints were told.
    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String)
}

/// The provider that carries traffic to one other node, sealed from this node's key to that one's: TLS 1.3 between the
/// two, inside a stream that the relay forwards and can't read, or over packets that another provider carries.
public final class PeerProvider: TunnelProvider {
    public weak var delegate: (any PeerProviderDelegate)?
    /// The other node, once it has proven its key.
    public private(set) var node: NodeID?
    /// What this side calls it: the relay's word, held against the list of known nodes.
    public var nodeName = ""
    /// Whether this side made the tunnel.
    public let isDialing: Bool

    private let configuration: PeerConfiguration
    private let transport: any CarrierTransport
    private var activation: PendedCall?
    /// Opens the stream to the other node.
    private let dial: (() throws(PlatformError) -> Void)?

    /// The tunnel is made by this side.
    /// - Parameter dial: opens a stream to the node, of which the argument is the application.
    public init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration,
        dial: @escaping (any EndpointApplication) throws(PlatformError) -> Endpoint
    ) {
        self.configuration = configuration
        let transport = EndpointTransport(loop: loop)
        self.dial = { () throws(PlatformError) in transport.join(try dial(transport)) }
        isDialing = true
        self.transport = transport
        super.init(loop: loop, local: TransportID(configuration.node.transportAddress), remote: remote)
    }

    /// The tunnel is made by the other side, which has opened `endpoint` for it. Becomes the endpoint's application.
    public init(loop: EventLoop, remote: TransportID, configuration: PeerConfiguration, accepting endpoint: Endpoint) {
        self.configuration = configuration
        dial = nil
        isDialing = false
        let transport = EndpointTransport(loop: loop)
        self.transport = transport
        super.init(loop: loop, local: TransportID(configuration.node.transportAddress), remote: remote)
        endpoint.application = transport
        transport.join(endpoint)
    }

    /// The tunnel lies on packets that a provider carries; this side has made the connection, or the other one.
    public init(
        loop: EventLoop, remote: TransportID, configuration: PeerConfiguration, over transport: PacketTransport,
        isDialing: Bool
    ) {
        self.configuration = configuration
        dial = nil
        self.isDialing = isDialing
        self.transport = transport
        super.init(loop: loop, local: TransportID(configuration.node.transportAddress), remote: remote)
    }

    /// How long the provider may take to become active, so that its call's deadline is behind every other.
    public static func patience(for configuration: PeerConfiguration) -> Duration { configuration.handshakeTimeout * 2 }

    // MARK: Session

    public override func transitionActive(call: PendedCall) -> CallOutcome {
        activation = call
        do throws(TLSError) {
            let carrier = try Carrier(
                loop: loop, transport: transport,
                context: isDialing ? configuration.clientContext : configuration.serverContext,
                limits: configuration.limits, livenessInterval: configuration.livenessInterval,
                patience: configuration.handshakeTimeout)
            self.carrier = carrier
            carrier.delegate = self
            carrier.tunnel.delegate = self
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
        super.terminateSessionIndication(instance, reason: reason, message: message)
        delegate?.peerProviderEnded(self, reason: reason, message: message)
    }

    /// Ends the session in good order.
    public func leave(_ text: String) {
        tunnel?.goAway(GoAway(code: .shutdown, text: text))
        instance?.fail(SessionFault(.providerRequest, text), now: loop.now)
    }

    // MARK: Introduction

    public override func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {
        let peer = NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER)
        guard TransportID(peer.transportAddress) == remote else {
            throw SessionFault(
                .providerOtherFailure,
                "the other side has the key \(peer), whose transport ID is \(peer.transportAddress) and not \(remote): "
                    + "the relay has connected the wrong nodes, or somebody stands in between")
        }
        node = peer
        guard isDialing else { return }
        carrier.tunnel.introduce(
            Hello(nodeName: configuration.nodeName, limits: configuration.limits), now: loop.now)
    }

    public override func tunnel(_ tunnel: Tunnel, received hello: Hello) {
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
        guard let activation, let instance else { return }
        self.activation = nil
        try? instance.complete(activation, .completed, now: loop.now)
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
}
