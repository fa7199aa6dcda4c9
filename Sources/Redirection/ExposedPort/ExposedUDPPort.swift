// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// A public UDP port: the datagrams of each visitor (source address) to one address of the relay are one flow, a datagram
/// endpoint to the node.
public final class ExposedUDPPort: ExposedPort {
    public private(set) var port: UInt16
    public private(set) var counters = ExposedPortCounters()
    public var owner: PortOwner?

    private let loop: EventLoop
    private unowned let platform: Platform
    private let limits: ExposedPortLimits
    private let budget: FlowBudget
    private let log: LogSampler
    private var sockets: [UDPSocket] = []
    private var flows: [VisitorPath: VisitorFlow] = [:]
    private var sweeper: LoopTimer?
    private var isAccepting = true

    /// Receives on the port of each address. With port 0 the system chooses one, the same for all addresses.
    /// - Parameter flows: what this port shares with the node's others.
    /// - Throws: the system's refusal of the first address that it refuses; then none is kept. Of `0.0.0.0` and `::` together
    ///   one that this host can't have is passed over.
    public init(
        loop: EventLoop, platform: Platform, addresses: [IPAddress], port: UInt16, limits: ExposedPortLimits,
        flows budget: FlowBudget, log: LogSampler
    ) throws(ListenFailure) {
        self.loop = loop
        self.platform = platform
        self.limits = limits
        self.budget = budget
        self.log = log
        self.port = port
        do throws(ListenFailure) {
            let places = addresses.map { TransportAddress($0, port: port) }
            _ = try ListenFailure.each(of: places) { place throws(UVError) in
                let socket = try UDPSocket(
                    loop: loop, bind: TransportAddress(place.ip, port: self.port), delegate: self)
                sockets.append(socket)
                if self.port == 0 { self.port = socket.localAddress?.port ?? 0 }
            }
        } catch {
            close()
            throw error
        }
        sweeper = LoopTimer(loop: loop, delegate: self)
    }

    public var visitors: Int { flows.count }
    /// Datagrams to visitors that the system did not take.
    public var droppedDatagrams: Int { sockets.reduce(0) { $0 + $1.dropped } }

    public func stopAccepting() { isAccepting = false }

    public func close() {
        isAccepting = false
        owner = nil
        sweeper?.close()
        sweeper = nil
        for flow in flows.values { flow.end() }
        for _ in flows { budget.giveBack() }
        flows = [:]
        for socket in sockets { socket.close() }
        sockets = []
    }
}

extension ExposedUDPPort: UDPSocketDelegate {
    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        let path = VisitorPath(visitor: address, local: local, socket: ObjectIdentifier(socket))
        guard let flow = flows[path] ?? newFlow(on: path, of: socket) else { return }
        flow.lastActive = loop.now
        flow.endpoint?.send(loop.buffers.lease(copying: datagram))
    }

    public func udpSocket(_ socket: UDPSocket, failed error: UVError) {
        log.log(
            .debug, kind: "datagram", now: loop.now, "a datagram was not delivered",
            metadata: ["port": "udp:\(port)", "error": "\(error)"])
    }

    private func newFlow(on path: VisitorPath, of socket: UDPSocket) -> VisitorFlow? {
        guard isAccepting, let owner else { return nil }
        guard budget.take() else { return turnAway() }
        let flow = VisitorFlow(path: path, socket: socket, port: self)
        flow.lastActive = loop.now
        do throws(PlatformError) {
            let endpoint = try platform.openEndpoint(
                kind: .datagram, from: owner.local, to: owner.remote,
                destination: EndpointDestination(port: port, address: path.local), source: path.visitor,
                over: owner.instance, application: flow, now: loop.now)
            guard !endpoint.hasEnded else {
                budget.giveBack()
                return nil
            }
            flow.endpoint = endpoint
        } catch {
            budget.giveBack()
            counters.turnedAway += 1
            return nil
        }
        counters.accepted += 1
        flows[path] = flow
        if sweeper?.isArmed == false { sweeper?.arm(after: limits.flowTimeout / 4) }
        return flow
    }

    private func turnAway() -> VisitorFlow? {
        counters.turnedAway += 1
        log.log(
            .warning, kind: "limits.flows-per-node", now: loop.now,
            "datagrams of new visitors are dropped: limits.flows-per-node is reached",
            metadata: ["port": "udp:\(port)", "limit": "\(budget.limit)"])
        return nil
    }

    fileprivate func flowEnded(_ flow: VisitorFlow) {
        guard flows[flow.path] === flow else { return }
        flows[flow.path] = nil
        budget.giveBack()
    }
}

extension ExposedUDPPort: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        let idle = flows.values.filter { loop.now - $0.lastActive >= limits.flowTimeout }
        for flow in idle { flow.end() }
        if !flows.isEmpty { timer.arm(after: limits.flowTimeout / 4) }
    }
}

/// From whom datagrams come, and where to. What answers them goes the same way back, or the visitor does not take it.
private struct VisitorPath: Hashable {
    let visitor: TransportAddress
    /// The address of this host, on a socket that takes what comes to any.
    let local: IPAddress?
    let socket: ObjectIdentifier

    /// The socket is left out: those of one port are few.
    func hash(into hasher: inout Hasher) {
        hasher.combine(visitor.ip.value)
        hasher.combine(visitor.port)
        hasher.combine(UInt64(truncatingIfNeeded: local?.value ?? 0))
    }
}

/// One visitor's datagrams.
private final class VisitorFlow: EndpointApplication {
    let path: VisitorPath
    private let socket: UDPSocket
    private weak var port: ExposedUDPPort?
    var endpoint: Endpoint?
    var lastActive = Instant(nanoseconds: 0)

    init(path: VisitorPath, socket: UDPSocket, port: ExposedUDPPort) {
        self.path = path
        self.socket = socket
        self.port = port
    }

    func end() { endpoint?.finishSending() }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        if let port { lastActive = port.now }
        socket.send(bytes.bytes, to: path.visitor, from: path.local)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        port?.flowEnded(self)
    }
}

extension ExposedUDPPort {
    fileprivate var now: Instant { loop.now }
}
