// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// The bounds of a forward.
public struct LocalForwardLimits: Sendable {
    /// Connections at once.
    public var connections: Int
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?
    /// How long a connection waits for its route.
    public var routing: Duration

    public init(connections: Int, halfClosed: Duration? = nil, routing: Duration = .seconds(60)) {
        self.connections = connections
        self.halfClosed = halfClosed
        self.routing = routing
    }
}

/// Addresses of this host at which applications reach one place on the far side: each connection becomes a stream endpoint
/// there.
///
///     application ──TCP──▶ forward ──router──▶ endpoint ──▶ target
///
/// An application's bytes wait in the kernel while the route is made, and go on their way before the far side has
/// connected: where it can't, the connection is reset. Owned by the loop.
public final class LocalForward {
    /// Where each connection goes.
    public let target: HostAndPort
    /// Where it listens, with the port that the system has chosen. Empty once closed.
    public var addresses: [TransportAddress] { listeners.compactMap(\.localAddress) }
    /// Where it was to listen too, and this host has no address of that family.
    public private(set) var missing: [TransportAddress] = []
    public private(set) var counters = WayInCounters()
    /// Connections now, and how many of them have no route yet.
    public private(set) var connections = 0
    public var waiting: Int { pending.count }

    let loop: EventLoop
    let router: any Router
    let pending: PendingConnections
    /// May be changed at any time, for what begins from then on.
    public var limits: LocalForwardLimits
    private let log: LogSampler
    private var listeners: [TCPListener] = []

    /// Listens at each of the addresses, which decide who is served: nobody is asked who he is. Where the first has port 0
    /// the system chooses the port, and the others with port 0 get the same.
    /// - Throws: the system's refusal of the first address that it refuses; then none is kept. Where both loopback
    ///   addresses are named, or both that stand for every address, one that this host can't have is passed over.
    public init(
        loop: EventLoop, addresses: [TransportAddress], target: HostAndPort, router: any Router,
        limits: LocalForwardLimits, log: LogSampler
    ) throws(ListenFailure) {
        self.loop = loop
        self.target = target
        self.router = router
        self.limits = limits
        self.log = log
        pending = PendingConnections(loop: loop)
        (listeners, missing) = try TCPListener.listen(loop: loop, at: addresses, delegate: self)
    }

    /// Takes no more connections, and ends those that have no route yet. The others go on until they end.
    public func close() {
        for listener in listeners { listener.close() }
        listeners = []
        for connection in pending.all { connection.disconnected() }
    }

    private func failed(_ why: String, from source: TransportAddress? = nil) {
        counters.failed += 1
        log.log(
            .warning, kind: "forward to \(target)", now: loop.now, "a connection can't be forwarded",
            metadata: ["target": "\(target)", "from": "\(source?.description ?? "-")", "why": "\(why)"])
    }

    private func turnAway(_ stream: TCPStream) {
        counters.turnedAway += 1
        log.log(
            .warning, kind: "forward.connections", now: loop.now,
            "a connection is turned away: the forward has as many as it may",
            metadata: ["target": "\(target)", "limit": "\(limits.connections)"])
        stream.reset()
    }
}

extension LocalForward: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        guard connections < limits.connections else { return turnAway(stream) }
        connections += 1
        counters.accepted += 1
        ForwardedConnection(stream, from: address, to: target, forward: self).start()
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        log.log(
            .error, kind: "accept", now: loop.now,
            "accepting connections is paused: the system has nothing left to accept them with",
            metadata: ["target": "\(target)", "error": "\(error)"])
    }
}

extension LocalForward: ForwardingPort {
    func failed(to target: HostAndPort, _ why: String, from source: TransportAddress) { failed(why, from: source) }

    func bridgeEnded(_ bridge: AnyObject) { connections -= 1 }

    func bridgeRefused(_ bridge: AnyObject, _ code: EndpointResetCode) { failed("\(code)") }
}
