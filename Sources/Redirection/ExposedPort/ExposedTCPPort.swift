// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// A public TCP port: each visitor's connection becomes a stream endpoint to the node.
public final class ExposedTCPPort: ExposedPort {
    public private(set) var port: UInt16
    public private(set) var counters = ExposedPortCounters()
    public private(set) var visitors = 0
    public var owner: PortOwner?

    private let loop: EventLoop
    private unowned let platform: Platform
    private let limits: ExposedPortLimits
    private let log: LogSampler
    private var listeners: [TCPListener] = []
    private var isClosed = false

    /// A visitor who is silent for so long is asked whether he is still there: a host that vanished would hold its
    /// connection, and the service's, for ever.
    private static let silence: Duration = .seconds(300)

    /// Listens on the port of each address. With port 0 the system chooses one, the same for all addresses.
    /// - Throws: the system's refusal of the first address that it refuses; then none is kept. Of `0.0.0.0` and `::` together
    ///   one that this host can't have is passed over.
    public init(
        loop: EventLoop, platform: Platform, addresses: [IPAddress], port: UInt16, limits: ExposedPortLimits,
        log: LogSampler
    ) throws(ListenFailure) {
        self.loop = loop
        self.platform = platform
        self.limits = limits
        self.log = log
        self.port = port
        do throws(ListenFailure) {
            let places = addresses.map { TransportAddress($0, port: port) }
            _ = try ListenFailure.each(of: places) { place throws(UVError) in
                let listener = try listener(on: place.ip)
                listeners.append(listener)
                if self.port == 0 { self.port = listener.localAddress?.port ?? 0 }
            }
        } catch {
            close()
            throw error
        }
    }

    private func listener(on address: IPAddress) throws(UVError) -> TCPListener {
        let listener = try TCPListener(
            loop: loop, address: TransportAddress(address, port: port), readPool: loop.buffers, delegate: self)
        listener.setKeepAlive(Self.silence)
        return listener
    }

    public func stopAccepting() {
        for listener in listeners { listener.close() }
        listeners = []
    }

    public func close() {
        isClosed = true
        owner = nil
        stopAccepting()
    }
}

extension ExposedTCPPort: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        guard let owner else { return stream.reset() }
        guard visitors < limits.visitors else {
            counters.turnedAway += 1
            log.log(
                .warning, kind: "limits.visitors-per-port", now: loop.now,
                "a visitor is turned away: limits.visitors-per-port is reached",
                metadata: ["port": "tcp:\(port)", "limit": "\(limits.visitors)"])
            return stream.reset()
        }
        let bridge = StreamBridge(owner: self, loop: loop, halfClosed: limits.halfClosed)
        do throws(PlatformError) {
            visitors += 1
            // Where the listener takes what comes to any address, only the connection knows which it came to.
            let any = listener.address.ip.isUnspecified
            let local = any ? stream.localAddress?.ip : listener.address.ip
            let endpoint = try platform.openEndpoint(
                kind: .stream, from: owner.local, to: owner.remote,
                destination: EndpointDestination(port: port, address: local), source: address,
                over: owner.instance, application: bridge, now: loop.now)
            guard !endpoint.hasEnded else { return stream.reset() }
            counters.accepted += 1
            bridge.join(endpoint)
            bridge.join(stream)
        } catch {
            visitors -= 1
            counters.turnedAway += 1
            log.log(
                .debug, kind: "visitor", now: loop.now, "a visitor is turned away",
                metadata: ["port": "tcp:\(port)", "why": "\(error)"])
            stream.reset()
        }
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        log.log(
            .error, kind: "accept", now: loop.now,
            "accepting visitors is paused: the system has nothing left to accept them with",
            metadata: ["port": "tcp:\(port)", "error": "\(error)"])
    }
}

extension ExposedTCPPort: BridgeOwner {
    func bridgeEnded(_ bridge: AnyObject) { visitors -= 1 }
}
