// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Identity
public import Primitives
public import Tunneling

/// Decides who may connect to this node without a relay.
public protocol DirectListenerDelegate: AnyObject {
    /// Whether a node that has proven its key may have a direct tunnel now.
    func directListener(_ listener: DirectListener, admits node: TransportID) -> Bool
    /// A node that is admitted: start its provider, whose ``PeerProvider/admit()`` lets it in.
    /// - Returns: what the node is told where that can't be; nil where it is in.
    func directListener(_ listener: DirectListener, arrived provider: PeerProvider) -> GoAway?
    /// A connection did not become a node's.
    func directListener(_ listener: DirectListener, failed why: String, from address: TransportAddress)
}

/// Takes direct connections of other nodes, on a port of every interface of this host. Whoever reaches the port gets a TLS
/// handshake, and nothing else before his key is one that is admitted. Confined to its loop.
public final class DirectListener {
    /// The ports that the system gave, by family; nil for a family that this host does not have.
    public private(set) var portV4: UInt16?
    public private(set) var portV6: UInt16?

    private let loop: EventLoop
    private let configuration: PeerConfiguration
    private weak var delegate: (any DirectListenerDelegate)?
    private var listeners: [TCPListener] = []
    /// Connections that are on their way, the oldest first.
    private var arrivals: [Arrival] = []

    /// Connections on their way at once; the oldest gives way to a newcomer, since a node is done within a round trip.
    private static let mostArrivals = 64

    /// Listens from now on, until it is closed.
    /// - Parameters:
    ///   - port: of every interface; 0: the system chooses one.
    ///   - delegate: not kept.
    /// - Throws: where neither family has the port.
    public init(
        loop: EventLoop, port: UInt16, configuration: PeerConfiguration, delegate: any DirectListenerDelegate
    ) throws(UVError) {
        self.loop = loop
        self.configuration = configuration
        self.delegate = delegate
        var failure: UVError?
        for any in [IPAddress.anyV4, IPAddress.anyV6] {
            // The second family takes the port that the first was given, where that is free there too.
            let wanted = port == 0 ? portV4 ?? 0 : port
            do throws(UVError) {
                try listen(on: TransportAddress(any, port: wanted))
            } catch  where port == 0 && wanted > 0 && error.isAddressInUse {
                try? listen(on: TransportAddress(any, port: 0))
            } catch {
                failure = failure ?? error
            }
        }
        if listeners.isEmpty, let failure { throw failure }
    }

    private func listen(on address: TransportAddress) throws(UVError) {
        let listener = try TCPListener(
            loop: loop, address: address, backlog: DirectListener.mostArrivals, readPool: loop.carrierBuffers,
            delegate: self)
        listeners.append(listener)
        let port = listener.localAddress?.port
        if address.ip.family == .v4 { portV4 = port } else { portV6 = port }
    }

    /// Closes the ports, and what is on its way; tunnels stay.
    public func close() {
        for listener in listeners { listener.close() }
        listeners = []
        for arrival in arrivals { arrival.carrier.close() }
        arrivals = []
    }
}

extension DirectListener: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        if arrivals.count >= DirectListener.mostArrivals { arrivals.removeFirst().carrier.close() }
        do {
            let carrier = try Carrier(
                loop: loop, transport: stream, context: configuration.serverContext, limits: configuration.limits,
                livenessInterval: configuration.livenessInterval, patience: configuration.handshakeTimeout)
            arrivals.append(Arrival(carrier: carrier, source: address, since: loop.now, admitting: self))
            carrier.start()
        } catch {
            delegate?.directListener(self, failed: "\(error)", from: address)
        }
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}
}

extension DirectListener: Admitting {
    public func admit(_ arrival: Arrival, node: NodeID, hello: Hello) {
        arrivals.removeAll { $0 === arrival }
        guard delegate?.directListener(self, admits: TransportID(node.transportAddress)) == true else {
            arrival.refuse(GoAway(code: .notAllowed, text: "there is no tunnel through a relay with this node"))
            delegate?.directListener(self, failed: "\(node) has no tunnel through the relay", from: arrival.source)
            return
        }
        let provider = PeerProvider(
            loop: loop, configuration: configuration, arrived: arrival.carrier, from: arrival.source, node: node)
        if let refusal = delegate?.directListener(self, arrived: provider) { arrival.refuse(refusal) }
    }

    public func join(_ arrival: Arrival, node: NodeID, _ request: JoinRequest) {
        arrivals.removeAll { $0 === arrival }
        arrival.refuse(GoAway(code: .notAllowed, text: "this is no relay: connections are not joined here"))
    }

    public func arrivalFailed(_ arrival: Arrival, fault: SessionFault) {
        arrivals.removeAll { $0 === arrival }
        delegate?.directListener(self, failed: fault.message, from: arrival.source)
    }
}
