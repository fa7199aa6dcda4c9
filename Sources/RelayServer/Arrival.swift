// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Identity
internal import Primitives
internal import Providers
internal import Tunneling

/// Decides about nodes that introduce themselves.
protocol Admitting: AnyObject {
    /// The node has proven its key and said HELLO.
    func admit(_ arrival: Arrival, node: NodeID, hello: Hello)
    /// The connection died, or did not get this far in time.
    func arrivalFailed(_ arrival: Arrival, fault: SessionFault)
}

/// A connection on its way to being admitted: first TLS, then HELLO.
final class Arrival {
    let carrier: Carrier
    let source: TransportAddress
    let since: Instant
    /// Its place in the queue of those that are on their way.
    var number: UInt64 = 0
    private unowned let admitting: any Admitting

    init(carrier: Carrier, source: TransportAddress, since: Instant, admitting: any Admitting) {
        self.carrier = carrier
        self.source = source
        self.since = since
        self.admitting = admitting
        carrier.delegate = self
        carrier.tunnel.delegate = self
    }

    /// Tells the node why it is not let in, and closes.
    func refuse(_ goAway: GoAway) {
        carrier.tunnel.goAway(goAway)
        carrier.finish()
    }
}

extension Arrival: CarrierDelegate {
    func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {}
    func carrier(_ carrier: Carrier, failed fault: SessionFault) { admitting.arrivalFailed(self, fault: fault) }
}

extension Arrival: TunnelDelegate {
    func tunnelHasOutput(_ tunnel: Tunnel) { carrier.setNeedsOutput() }

    func tunnel(_ tunnel: Tunnel, received hello: Hello) {
        admitting.admit(self, node: NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER), hello: hello)
    }

    // Nothing else can come before the node is welcome: the tunnel sees to that.
    func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {}
    func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {}
    func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {}
    func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {}
    func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {}
    func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) { stream.reset(.notAllowed) }
}
