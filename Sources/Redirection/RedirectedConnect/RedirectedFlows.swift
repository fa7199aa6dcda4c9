// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// The datagrams of a run: a port on loopback for each destination, and behind it a flow for each socket that sends there.
///
/// An application's datagrams go to the destination's port, and what comes back comes from there, so that both sides can
/// tell destinations apart by the port.
final class RedirectedFlows {
    unowned let run: RedirectedRun
    /// Those that the library has asked for.
    private var targets: [TransportAddress: FlowTarget] = [:]
    private var ports: [FlowPort: FlowTarget] = [:]
    fileprivate(set) var flows = 0
    private var checks: TokenBucket

    /// Destinations at once.
    private static let mostTargets = 1_024

    /// A port of the agent's, on 127.0.0.1 or ::1.
    private struct FlowPort: Hashable {
        var family: IPAddress.Family
        var port: UInt16
    }

    init(run: RedirectedRun) {
        self.run = run
        checks = TokenBucket(rate: 500, burst: 2_000, now: run.loop.now)
    }

    /// The port for datagrams to a destination.
    func port(for destination: TransportAddress) throws(UVError) -> UInt16 {
        if let target = targets[destination] { return target.port }
        let target = try open(destination.ip.family)
        target.bind(to: destination)
        targets[destination] = target
        return target.port
    }

    private func open(_ family: IPAddress.Family) throws(UVError) -> FlowTarget {
        guard ports.count < Self.mostTargets else { throw .outOfBuffers }
        let loopback: IPAddress = family == .v4 ? .loopbackV4 : .loopbackV6
        let target = FlowTarget(flows: self)
        let socket = try UDPSocket(loop: run.loop, bind: TransportAddress(loopback, port: 0), delegate: target)
        target.socket = socket
        target.port = socket.localAddress?.port ?? 0
        ports[FlowPort(family: family, port: target.port)] = target
        return target
    }

    /// Opens ports for destinations that are not known yet, as many as can be.
    func stock(_ count: Int, _ family: IPAddress.Family) -> [UInt16] {
        var opened: [UInt16] = []
        while opened.count < count, let target = try? open(family) { opened.append(target.port) }
        return opened
    }

    /// Says what a port is for that was opened so.
    func bind(_ port: UInt16, to destination: TransportAddress) {
        ports[FlowPort(family: destination.ip.family, port: port)]?.bind(to: destination)
    }

    /// Has a port that was opened so be for nothing any more, until it is bound anew.
    /// - Returns: whether there is such a port.
    func free(_ port: UInt16, _ family: IPAddress.Family) -> Bool {
        guard let target = ports[FlowPort(family: family, port: port)],
            target.destination.map({ targets[$0] !== target }) ?? true
        else { return false }
        target.free()
        return true
    }

    /// Where datagrams to one of the agent's ports go.
    func destination(of port: UInt16, _ family: IPAddress.Family) -> TransportAddress? {
        ports[FlowPort(family: family, port: port)]?.destination
    }

    /// Whether a socket that sends for the first time, or asks for a name, is the run's user's.
    fileprivate func admits(_ sender: TransportAddress, at socket: UDPSocket) -> Bool {
        // On loopback nothing comes from other hosts, whatever its address.
        guard flows < run.limits.flows, checks.take(now: run.loop.now) else { return false }
        return socket.user(of: sender) == run.user
    }

    fileprivate func began() { flows += 1 }
    fileprivate func ended() { flows -= 1 }

    /// Ends flows on which nothing has passed for long.
    func sweep() { for target in ports.values { target.sweep() } }

    func close() {
        for target in ports.values { target.close() }
        targets = [:]
        ports = [:]
    }
}

/// One destination, or a port that waits for one.
private final class FlowTarget: UDPSocketDelegate {
    private(set) var destination: TransportAddress?
    var port: UInt16 = 0
    var socket: UDPSocket?
    private weak var flows: RedirectedFlows?
    private var senders: [TransportAddress: FlowSender] = [:]
    /// What has come before there was a destination.
    private var early: [(bytes: [UInt8], sender: TransportAddress)] = []

    private static let earlyDatagrams = 16
    private static let earlyBytes = 65_536

    init(flows: RedirectedFlows) { self.flows = flows }

    /// Says where everything goes.
    func bind(to destination: TransportAddress) {
        guard self.destination == nil, let socket else { return }
        self.destination = destination
        let early = self.early
        self.early = []
        for (bytes, sender) in early { udpSocket(socket, received: bytes.rawSpan, from: sender, to: nil) }
    }

    func free() {
        closeSenders()
        destination = nil
    }

    private func keep(_ datagram: RawSpan, _ sender: TransportAddress, _ socket: UDPSocket) {
        guard early.count < Self.earlyDatagrams,
            early.reduce(datagram.byteCount, { $0 + $1.bytes.count }) <= Self.earlyBytes,
            flows?.admits(sender, at: socket) == true
        else { return }
        var bytes: [UInt8] = []
        bytes.append(copying: datagram)
        early.append((bytes, sender))
    }

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        guard let destination else { return keep(datagram, address, socket) }
        if let flows, flows.run.isForNames(datagram, to: destination) {
            guard flows.admits(address, at: socket) else { return }
            return flows.run.answer(datagram, meantFor: destination) { [weak self] in
                self?.answer($0.rawSpan, to: address)
            }
        }
        guard let sender = senders[address] ?? newSender(address, socket) else { return }
        sender.flow?.send(datagram)
    }

    /// A sender's socket was closed when an answer came.
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}

    private func newSender(_ address: TransportAddress, _ socket: UDPSocket) -> FlowSender? {
        guard let flows, let destination, flows.admits(address, at: socket),
            let target = flows.run.target(destination)
        else { return nil }
        let sender = FlowSender(address, target: self, run: flows.run)
        senders[address] = sender
        flows.began()
        sender.open(target)
        return sender
    }

    fileprivate func answer(_ data: RawSpan, to client: TransportAddress) { socket?.send(data, to: client) }

    fileprivate func failed(_ why: String) {
        if let destination { flows?.run.failed(datagramsTo: destination, why) }
    }

    func sweep() {
        guard let flows else { return }
        for sender in senders.values where sender.isIdle(for: flows.run.limits.flowTimeout) {
            senders[sender.client] = nil
            sender.close()
            flows.ended()
        }
    }

    private func closeSenders() {
        for sender in senders.values {
            sender.close()
            flows?.ended()
        }
        senders = [:]
    }

    func close() {
        closeSenders()
        early = []
        socket?.close()
        socket = nil
    }
}

/// One application's socket that sends to a destination.
private final class FlowSender: DatagramFlowOwner {
    let loop: EventLoop
    let router: any Router
    let client: TransportAddress
    private weak var target: FlowTarget?
    private(set) var flow: DatagramFlow?

    init(_ client: TransportAddress, target: FlowTarget, run: RedirectedRun) {
        self.client = client
        self.target = target
        loop = run.loop
        router = run.router
    }

    func open(_ place: HostAndPort) {
        let flow = DatagramFlow(to: ProxyDestination(host: place.host, port: place.port), of: self)
        self.flow = flow
        flow.open()
    }

    func isIdle(for time: Duration) -> Bool { flow.map { loop.now - $0.lastActive >= time } ?? true }

    func close() {
        flow?.close()
        flow = nil
    }

    func flow(_ flow: DatagramFlow, received data: RawSpan) { target?.answer(data, to: client) }
    func flow(_ flow: DatagramFlow, failed why: String) { target?.failed(why) }
}
