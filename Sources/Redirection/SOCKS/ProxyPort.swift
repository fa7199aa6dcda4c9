// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Proxying
public import Telemetry

/// The bounds of a proxy's port.
public struct ProxyPortLimits: Sendable {
    /// Connections at once.
    public var connections: Int
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?
    /// How long a client may take to say what it wants.
    public var request: Duration = .seconds(30)
    /// How long a client waits for its route before it is told that there is none.
    public var routing: Duration = .seconds(60)
    /// How long a client that was refused may take to leave. RFC 1928, 6: not more than 10 seconds.
    public var leaving: Duration = .seconds(5)
    /// Destinations of one client's datagrams at once, and of all clients'.
    public var flowsPerClient = 64
    public var flows = 4_096
    /// A flow ends after this long without a datagram either way.
    public var flowTimeout: Duration = .seconds(60)

    public init(connections: Int, halfClosed: Duration? = nil) {
        self.connections = connections
        self.halfClosed = halfClosed
    }
}

/// A proxy for applications on this host: SOCKS5 (RFC 1928) with CONNECT and UDP ASSOCIATE, SOCKS4a, and HTTP's CONNECT
/// (RFC 9110, 9.3.6), all on one port.
///
///     client ──request──▶ port ──router──▶ endpoint ──▶ destination
///            ◀──reply───      ◀──opened──
///
/// Names go to the router as they are: the far side looks them up. A client is told that it is connected once the far side
/// is, and what went wrong in the nearest words that its protocol has. Owned by the loop.
public final class ProxyPort {
    /// Where it listens, with the port that the system has chosen. Empty once closed.
    public var addresses: [TransportAddress] { listeners.compactMap(\.localAddress) }
    /// Where it was to listen too, and this host has no address of that family.
    public private(set) var missing: [TransportAddress] = []
    public private(set) var counters = WayInCounters()
    /// Connections now, and how many of them are not joined to anything yet.
    public private(set) var connections = 0
    public var waiting: Int { pending.count }
    /// Destinations of datagrams now.
    public var flows: Int { budget.used }

    let loop: EventLoop
    let router: any Router
    let pending: PendingConnections
    let budget: FlowBudget
    let credentials: ProxyCredentials?
    /// May be changed at any time, for what begins from then on; but for ``ProxyPortLimits/flows``.
    public var limits: ProxyPortLimits
    private let log: LogSampler
    private var listeners: [TCPListener] = []

    /// Listens at each of the addresses. Where the first has port 0 the system chooses the port, and the others with port
    /// 0 get the same.
    /// - Parameter credentials: what clients have to present; nil where everybody who reaches the addresses is served.
    /// - Throws: the system's refusal of the first address that it refuses; then none is kept. Where both loopback
    ///   addresses are named, or both that stand for every address, one that this host can't have is passed over.
    public init(
        loop: EventLoop, addresses: [TransportAddress], credentials: ProxyCredentials?, router: any Router,
        limits: ProxyPortLimits, log: LogSampler
    ) throws(ListenFailure) {
        self.loop = loop
        self.credentials = credentials
        self.router = router
        self.limits = limits
        self.log = log
        pending = PendingConnections(loop: loop)
        budget = FlowBudget(limit: limits.flows)
        (listeners, missing) = try TCPListener.listen(loop: loop, at: addresses, delegate: self)
    }

    /// Takes no more connections, and ends those that are not joined to anything yet. The others go on until they end.
    public func close() {
        for listener in listeners { listener.close() }
        listeners = []
        for connection in pending.all { connection.disconnected() }
    }

    /// A client's request failed, or was none.
    func failed(_ why: String, destination: ProxyDestination?, _ source: TransportAddress) {
        counters.failed += 1
        log.log(
            .info, kind: "proxy", now: loop.now, "a client of the proxy can't be served",
            metadata: [
                "destination": "\(destination?.description ?? "-")", "from": "\(source)", "why": "\(why)",
            ])
    }

    /// A client sends to more destinations than it may.
    func turnedAwayFlow(_ source: TransportAddress) {
        counters.turnedAway += 1
        log.log(
            .warning, kind: "proxy.flows", now: loop.now,
            "datagrams are dropped: the client, or all of them together, have as many destinations as they may",
            metadata: ["from": "\(source)", "limit": "\(limits.flowsPerClient), \(budget.limit) in all"])
    }

    /// A connection that was not handed to a bridge has ended.
    func connectionEnded() { connections -= 1 }

    private func turnAway(_ stream: TCPStream) {
        counters.turnedAway += 1
        log.log(
            .warning, kind: "proxy.connections", now: loop.now,
            "a client of the proxy is turned away: the port has as many connections as it may",
            metadata: ["limit": "\(limits.connections)"])
        stream.reset()
    }
}

extension ProxyPort: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        guard connections < limits.connections else { return turnAway(stream) }
        connections += 1
        counters.accepted += 1
        ProxyConnection(stream, from: address, port: self).start()
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        log.log(
            .error, kind: "accept", now: loop.now,
            "accepting clients of the proxy is paused: the system has nothing left to accept them with",
            metadata: ["error": "\(error)"])
    }
}

extension ProxyPort: BridgeOwner {
    func bridgeEnded(_ bridge: AnyObject) { connectionEnded() }
}
