// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Identity
public import Primitives
public import Tunneling

/// Decides about nodes that introduce themselves.
public protocol Admitting: AnyObject {
    /// The node has proven its key and said HELLO.
    func admit(_ arrival: Arrival, node: NodeID, hello: Hello)
    /// The node has proven its key, and wants its connection to be made one with another node's.
    func join(_ arrival: Arrival, node: NodeID, _ request: JoinRequest)
    /// The connection died, or did not get this far in time.
    func arrivalFailed(_ arrival: Arrival, fault: SessionFault)
}

/// A connection on its way to being admitted: first TLS, then HELLO. Confined to its loop.
public final class Arrival {
    public let carrier: Carrier
    public let source: TransportAddress
    public let since: Instant
    /// Its place in the queue of those that are on their way.
    public var number: UInt64 = 0
    private unowned let admitting: any Admitting

    /// Takes the carrier over until its node is admitted or refused. `admitting` is not kept, and must stay until then.
    public init(carrier: Carrier, source: TransportAddress, since: Instant, admitting: any Admitting) {
        self.carrier = carrier
        self.source = source
        self.since = since
        self.admitting = admitting
        carrier.delegate = self
        carrier.tunnel.delegate = self
    }

    /// Tells the node why it is not let in, and closes.
    public func refuse(_ goAway: GoAway) {
        carrier.tunnel.goAway(goAway)
        carrier.finish()
    }
}

extension Arrival: CarrierDelegate {
    public func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {}
    public func carrier(_ carrier: Carrier, failed fault: SessionFault) {
        admitting.arrivalFailed(self, fault: fault)
    }
}

extension Arrival: TunnelDelegate {
    public func tunnelHasOutput(_ tunnel: Tunnel) { carrier.setNeedsOutput() }

    public func tunnel(_ tunnel: Tunnel, received hello: Hello) {
        admitting.admit(self, node: NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER), hello: hello)
    }

    public func tunnel(_ tunnel: Tunnel, received join: JoinRequest) {
        admitting.join(self, node: NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER), join)
    }

    // Nothing else can come before the node is welcome: the tunnel sees to that.
    public func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {}
    public func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {}
    public func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {}
    public func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {}
    public func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {}
    public func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) {
        stream.reset(.notAllowed)
    }
}
