// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Identity
public import Logging
public import Primitives
public import TLS
public import Tunneling

/// What the agent's end of a tunnel needs to know to reach its relay.
public struct RelayConfiguration: Sendable {
    /// Where the relay is, tried in this order.
    public var addresses: [HostAndPort]
    /// The relay's key. Another one is refused.
    public var relay: NodeID
    public var node: NodeID
    public var nodeName: String
    /// The token of an invite, for a node that the relay may not know yet; else empty.
    public var inviteToken: [UInt8]
    public var context: TLSContext
    public var limits: TunnelLimits
    /// How long one address of the relay may take to answer.
    public var connectTimeout: Duration
    /// How long TLS and the introduction may take together.
    public var handshakeTimeout: Duration

    public init(
        addresses: [HostAndPort], relay: NodeID, node: NodeID, nodeName: String, inviteToken: [UInt8],
        context: TLSContext, limits: TunnelLimits, connectTimeout: Duration, handshakeTimeout: Duration
    ) {
        self.addresses = addresses
        self.relay = relay
        self.node = node
        self.nodeName = nodeName
        self.inviteToken = inviteToken
        self.context = context
        self.limits = limits
        self.connectTimeout = connectTimeout
        self.handshakeTimeout = handshakeTimeout
    }
}

/// Is told of what concerns the agent in the life of a ``RelayProvider``.
public protocol RelayProviderDelegate: AnyObject {
    /// The relay let this node in: ask for what is to be exposed.
    func relayProvider(_ provider: RelayProvider, welcomed welcome: Welcome, by address: TransportAddress?)
    /// The relay's answer to a request to expose.
    func relayProvider(_ provider: RelayProvider, received answer: ExposeAnswer)
    /// What the relay says of a node.
    func relayProvider(_ provider: RelayProvider, received answer: ReachAnswer)
    /// The relay is stopping: it opens nothing new, and waits for what is open.
    func relayProviderIsStopping(_ provider: RelayProvider)
}

/// The provider that carries traffic through a relay: it dials, proves who it is, and is active once it is welcome.
public final class RelayProvider: TunnelProvider {
    public weak var delegate: (any RelayProviderDelegate)?
    /// Which of the relay's addresses has answered, as it is configured; nil until one has.
    public private(set) var target: HostAndPort?
    private let configuration: RelayConfiguration
    private let logger: Logger
    private var dialer: Dialer?
    private var activation: PendedCall?

    public init(loop: EventLoop, configuration: RelayConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        super.init(
            loop: loop, local: TransportID(configuration.node.transportAddress),
            remote: TransportID(configuration.relay.transportAddress))
    }

    /// How long the provider may take to become active, so that its call's deadline is behind every other.
    public static func patience(for configuration: RelayConfiguration) -> Duration {
        configuration.connectTimeout * max(4, 2 * configuration.addresses.count) + configuration.handshakeTimeout * 2
    }

    // MARK: Session

    public override func transitionActive(call: PendedCall) -> CallOutcome {
        activation = call
        let dialer = Dialer(
            loop: loop, targets: configuration.addresses, timeout: configuration.connectTimeout,
            readPool: loop.carrierBuffers, delegate: self)
        self.dialer = dialer
        dialer.start()
        return .pending
    }

    public override func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        dialer?.cancel()
        dialer = nil
        super.terminateSessionIndication(instance, reason: reason, message: message)
    }

    // MARK: Exposing

    /// Asks the relay for a port.
    public func expose(_ request: ExposeRequest) { tunnel?.expose(request) }

    /// Gives a port back.
    public func unexpose(_ id: UInt32) { tunnel?.unexpose(id) }

    /// Asks the relay about a node.
    public func reach(_ request: ReachRequest) { tunnel?.reach(request) }

    // MARK: Carrier and tunnel

    public override func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {
        let peer = NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER)
        guard peer == configuration.relay else {
            throw SessionFault(
                .providerOtherFailure,
                "the server has the key \(peer), not the relay's \(configuration.relay): this is another relay, its key "
                    + "was changed, or somebody stands in between")
        }
        carrier.tunnel.introduce(
            Hello(
                nodeName: configuration.nodeName, inviteToken: configuration.inviteToken, limits: configuration.limits),
            now: loop.now)
    }

    public override func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {
        carrier?.introductionEnded(livenessInterval: welcome.livenessInterval)
        guard let activation, let instance else { return }
        self.activation = nil
        try? instance.complete(activation, .completed, now: loop.now)
        delegate?.relayProvider(self, welcomed: welcome, by: carrier?.remoteAddress)
    }

    public override func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {
        super.tunnel(tunnel, received: goAway)
        if goAway.code == .shutdown { delegate?.relayProviderIsStopping(self) }
    }

    public override func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {
        delegate?.relayProvider(self, received: exposed)
    }

    public override func tunnel(_ tunnel: Tunnel, received reached: ReachAnswer) {
        delegate?.relayProvider(self, received: reached)
    }
}

extension RelayProvider: DialerDelegate {
    func dialer(_ dialer: Dialer, connected stream: TCPStream) {
        self.dialer = nil
        target = dialer.target
        do throws(TLSError) {
            let carrier = try Carrier(
                loop: loop, transport: stream, context: configuration.context, limits: configuration.limits,
                livenessInterval: configuration.handshakeTimeout, patience: configuration.handshakeTimeout)
            self.carrier = carrier
            carrier.delegate = self
            carrier.tunnel.delegate = self
            carrier.start()
        } catch {
            stream.close()
            fail(SessionFault(error))
        }
    }

    func dialer(_ dialer: Dialer, failed reasons: [String]) {
        self.dialer = nil
        fail(
            SessionFault(
                .otherCommunicationError, "the relay can't be reached: \(reasons.joined(separator: "; "))"))
    }
}
