// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Identity
internal import Primitives
public import Tunneling

/// Is told what a node asks of the relay.
public protocol NodeProviderDelegate: AnyObject {
    func nodeProvider(_ provider: NodeProvider, received expose: ExposeRequest)
    func nodeProvider(_ provider: NodeProvider, unexpose id: UInt32)
    func nodeProvider(_ provider: NodeProvider, received reach: ReachRequest)
    /// The session is over; its endpoints were told.
    func nodeProviderEnded(_ provider: NodeProvider, reason: SessionTerminationReason, message: String)
}

/// The relay's end of a node's tunnel. It is born of a carrier whose node was admitted, so that it is active at once.
public final class NodeProvider: TunnelProvider {
    public let node: NodeID
    public let nodeName: String
    public weak var delegate: (any NodeProviderDelegate)?

    /// Takes over a carrier whose HELLO was received and whose node is admitted.
    public init(loop: EventLoop, relay: NodeID, node: NodeID, nodeName: String, carrier: Carrier) {
        self.node = node
        self.nodeName = nodeName
        super.init(
            loop: loop, local: TransportID(relay.transportAddress), remote: TransportID(node.transportAddress))
        self.carrier = carrier
        carrier.delegate = self
        carrier.tunnel.delegate = self
    }

    /// Tells the node that it is welcome; call once the session is active.
    public func welcome(_ welcome: Welcome) {
        guard let carrier else { return }
        carrier.introductionEnded(livenessInterval: welcome.livenessInterval)
        carrier.tunnel.welcome(welcome, now: loop.now)
    }

    /// Another session of the same node takes over, or the operator removed it: the node is told why.
    public func dismiss(_ goAway: GoAway) {
        tunnel?.goAway(goAway)
        instance?.fail(SessionFault(.providerRequest, goAway.text), now: loop.now)
    }

    /// No new streams; those that are open may end.
    public func drain(_ text: String) { tunnel?.goAway(GoAway(code: .shutdown, text: text)) }

    public override func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        super.terminateSessionIndication(instance, reason: reason, message: message)
        delegate?.nodeProviderEnded(self, reason: reason, message: message)
    }

    public override func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {
        delegate?.nodeProvider(self, received: expose)
    }

    public override func tunnel(_ tunnel: Tunnel, received reach: ReachRequest) {
        delegate?.nodeProvider(self, received: reach)
    }

    /// A node speaks for nobody but itself.
    override func source(of request: OpenRequest) -> TransportAddress? {
        TransportAddress(remote.address, port: request.source.port)
    }

    public override func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {
        delegate?.nodeProvider(self, unexpose: id)
    }
}
