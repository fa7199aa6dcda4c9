// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
internal import Proxying
public import Telemetry

/// What a gateway does for the hosts behind it, and its bounds.
public struct GatewayPlan: Sendable {
    /// Where the packet filter leads their packets to.
    public var port: UInt16
    /// Whether what is for no node goes out through the relay.
    public var egress: Bool
    /// Whether questions of DNS are answered; otherwise they go where all else goes.
    public var names = true
    /// Connections at once.
    public var connections: Int
    /// Flows of datagrams at once.
    public var flows: Int
    /// A flow ends after this long without a datagram either way.
    public var flowTimeout: Duration
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?

    public init(port: UInt16, egress: Bool, connections: Int, flows: Int, flowTimeout: Duration) {
        self.port = port
        self.egress = egress
        self.connections = connections
        self.flows = flows
        self.flowTimeout = flowTimeout
    }
}

/// The way in for the hosts of a whole network, on the box through which they go: its packet filter leads their connections
/// and datagrams here (TPROXY, deploy/gateway.nft), and each goes where it was meant to go.
///
///     host ── to 2001:21:…, 198.18.x.y ──▶ its node            through the router
///          ── to port 53 of any host ────▶ the name answerer   which has other names answered by that very host
///          ── to anything else ──────────▶ out through the relay, where that is so wanted; else refused (RST)
///
/// What is for an address of this host itself has not come through the packet filter: whoever sent it has found the port,
/// and gets nothing. Owned by the loop.
public final class Gateway {
    public let plan: GatewayPlan
    /// Where it listens. Empty once closed.
    public var addresses: [TransportAddress] { listeners.compactMap(\.localAddress) }
    public private(set) var counters = WayInCounters()
    /// Connections and flows now.
    public private(set) var connections = 0
    public var flows: Int { datagrams.flows }

    let loop: EventLoop
    let router: any Router
    let pending: PendingConnections
    private let names: NameAnswerer
    private let own: OwnAddresses
    private let log: LogSampler
    private var listeners: [TCPListener] = []
    private var sockets: [UDPSocket] = []
    private lazy var datagrams = GatewayFlows(gateway: self)
    private lazy var questions = NameConnections(answerer: names)

    private static let domain: UInt16 = 53

    /// Listens at its port at every address of both families, or of IPv4 where the host has no IPv6.
    /// - Parameters:
    ///   - names: answers what the hosts ask of DNS servers; the mapped addresses are those that it hands out.
    /// - Throws: the system's refusal, most often for want of CAP_NET_RAW (EPERM) or of
    ///   CAP_NET_BIND_SERVICE (EACCES); then nothing is kept.
    public init(
        loop: EventLoop, plan: GatewayPlan, router: any Router, names: NameAnswerer, log: LogSampler
    ) throws(ListenFailure) {
        self.loop = loop
        self.plan = plan
        self.router = router
        self.names = names
        self.log = log
        own = OwnAddresses(loop: loop)
        pending = PendingConnections(loop: loop)
        do throws(ListenFailure) {
            let places = [IPAddress.anyV4, .anyV6].map { TransportAddress($0, port: plan.port) }
            _ = try ListenFailure.each(of: places) { place throws(UVError) in
                try mayAnswerForOthers()
                try open(place)
            }
        } catch {
            close()
            throw error
        }
    }

    /// Fails now rather than at the first answer from a port below 1024, which takes CAP_NET_BIND_SERVICE.
    private func mayAnswerForOthers() throws(UVError) {
        let example = TransportAddress(IPAddress(v4: 0xC000_0201), port: Gateway.domain)
        try UDPSocket(loop: loop, inTheNameOf: example, delegate: self).close()
    }

    private func open(_ address: TransportAddress) throws(UVError) {
        let listener = try TCPListener(loop: loop, address: address, readPool: loop.buffers, delegate: self)
        listeners.append(listener)
        listener.keepAlive()
        try listener.takeForeign()
        let socket = try UDPSocket(loop: loop, bind: address, delegate: self)
        sockets.append(socket)
        try socket.takeForeign()
    }

    /// Takes nothing more, and ends what has no route yet, and the flows. Connections go on until they end.
    public func close() {
        for listener in listeners { listener.close() }
        listeners = []
        for socket in sockets { socket.close() }
        sockets = []
        for connection in pending.all { connection.disconnected() }
        datagrams.close()
        questions.close()
    }

    // MARK: Where to

    enum Way: Equatable {
        case to(HostAndPort)
        /// To the answerer; `server` has what is no node's, where it is not this host.
        case names(server: TransportAddress?)
        case refused(String)
    }

    func way(to destination: TransportAddress) -> Way {
        let isOwn = own.current?.contains(destination.ip.unscoped) ?? true
        switch names.addresses.meaning(of: destination.ip) {
        case .node(let node) where !isOwn: return .to(HostAndPort(host: "\(node)", port: destination.port))
        case .nobody: return .refused("no node was given that address")
        case .host where plan.names && destination.port == Gateway.domain:
            return .names(server: isOwn ? nil : destination)
        case .node, .host: break
        }
        if isOwn { return .refused("it was not led here by the packet filter, but sent to this host") }
        guard plan.egress else { return .refused("it is no node's address, and nothing goes out through the relay") }
        // Which addresses those may be is the relay's word.
        return .to(HostAndPort(host: "\(destination.ip)", port: destination.port))
    }

    /// Whatever is asked of names.
    func answer(
        _ message: RawSpan, meantFor server: TransportAddress?, _ reply: @escaping ([UInt8]) -> Void
    ) { names.answer(message, meantFor: server, reply) }

    func tell(of target: some CustomStringConvertible, _ why: String, from source: TransportAddress?) {
        counters.failed += 1
        log.log(
            .info, kind: "gateway", now: loop.now, "a host behind this gateway can't be brought where it wants to go",
            metadata: ["to": "\(target)", "from": "\(source?.description ?? "-")", "why": "\(why)"])
    }

    func turnedAway(_ what: String, limit: Int) {
        counters.turnedAway += 1
        log.log(
            .warning, kind: "gateway.\(what)", now: loop.now, "the gateway has as many \(what) as it may",
            metadata: ["limit": "\(limit)"])
    }
}

// MARK: - Connections

extension Gateway: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        counters.accepted += 1
        guard let destination = stream.localAddress else { return stream.reset() }
        switch way(to: destination) {
        case .refused(let why):
            tell(of: destination, why, from: address)
            stream.reset()
        case .names(let server): questions.take(stream, meantFor: server)
        case .to(let target):
            guard connections < plan.connections else {
                turnedAway("connections", limit: plan.connections)
                return stream.reset()
            }
            connections += 1
            ForwardedConnection(stream, from: address, to: target, forward: self).start()
        }
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        log.log(
            .error, kind: "accept", now: loop.now,
            "accepting connections is paused: the system has nothing left to accept them with",
            metadata: ["for": "the gateway", "error": "\(error)"])
    }
}

extension Gateway: ForwardingPort {
    var limits: LocalForwardLimits { LocalForwardLimits(connections: plan.connections, halfClosed: plan.halfClosed) }

    func failed(to target: HostAndPort, _ why: String, from source: TransportAddress) {
        tell(of: target, why, from: source)
    }

    func bridgeEnded(_ bridge: AnyObject) { connections -= 1 }

    func bridgeRefused(_ bridge: AnyObject, _ code: EndpointResetCode) { tell(of: "a service", "\(code)", from: nil) }
}

// MARK: - Datagrams

extension Gateway: UDPSocketDelegate {
    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress,
        meantFor destination: TransportAddress
    ) { datagrams.received(datagram, from: address, meantFor: destination) }

    /// The system does not tell where it was meant to go.
    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {}

    public func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}

extension IPAddress {
    /// As the kernel tells of this host's addresses.
    fileprivate var unscoped: IPAddress { family == .v6 ? IPAddress(v6: value).canonical : self }
}
