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
        guard targets.count < Self.mostTargets else { throw .outOfBuffers }
        let loopback: IPAddress = destination.ip.family == .v4 ? .loopbackV4 : .loopbackV6
        let target = FlowTarget(destination, flows: self)
        let socket = try UDPSocket(loop: run.loop, bind: TransportAddress(loopback, port: 0), delegate: target)
        target.socket = socket
        target.port = socket.localAddress?.port ?? 0
        targets[destination] = target
        ports[FlowPort(family: destination.ip.family, port: target.port)] = target
        return target.port
    }

    /// Where datagrams to one of the agent's ports go.
    func destination(of port: UInt16, _ family: IPAddress.Family) -> TransportAddress? {
        ports[FlowPort(family: family, port: port)]?.destination
    }

    /// Whether a socket that sends for the first time is the run's user's.
    fileprivate func admits(_ sender: TransportAddress, at socket: UDPSocket) -> Bool {
        // On loopback nothing comes from other hosts, whatever its address.
        guard flows < run.limits.flows, checks.take(now: run.loop.now) else { return false }
        return socket.user(of: sender) == run.user
    }

    fileprivate func began() { flows += 1 }
    fileprivate func ended() { flows -= 1 }

    /// Ends flows on which nothing has passed for long.
    func sweep() { for target in targets.values { target.sweep() } }

    func close() {
        for target in targets.values { target.close() }
        targets = [:]
        ports = [:]
    }
}

/// One destination.
private final class FlowTarget: UDPSocketDelegate {
    let destination: TransportAddress
    var port: UInt16 = 0
    var socket: UDPSocket?
    private weak var flows: RedirectedFlows?
    private var senders: [TransportAddress: FlowSender] = [:]

    init(_ destination: TransportAddress, flows: RedirectedFlows) {
        self.destination = destination
        self.flows = flows
    }

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        guard let sender = senders[address] ?? newSender(address, socket) else { return }
        sender.flow?.send(datagram)
    }

    /// A sender's socket was closed when an answer came.
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}

    private func newSender(_ address: TransportAddress, _ socket: UDPSocket) -> FlowSender? {
        guard let flows, flows.admits(address, at: socket), let target = flows.run.target(destination) else {
            return nil
        }
        let sender = FlowSender(address, target: self, run: flows.run)
        senders[address] = sender
        flows.began()
        sender.open(target)
        return sender
    }

    fileprivate func answer(_ data: RawSpan, to client: TransportAddress) { socket?.send(data, to: client) }

    fileprivate func failed(_ why: String) { flows?.run.failed(datagramsTo: destination, why) }

    func sweep() {
        guard let flows else { return }
        for sender in senders.values where sender.isIdle(for: flows.run.limits.flowTimeout) {
            senders[sender.client] = nil
            sender.close()
            flows.ended()
        }
    }

    func close() {
        for sender in senders.values {
            sender.close()
            flows?.ended()
        }
        senders = [:]
        socket?.close()
        socket = nil
    }
}

extension FlowTarget: FlowDestination {}

extension FlowSender {
    fileprivate convenience init(_ client: TransportAddress, target: FlowTarget, run: RedirectedRun) {
        self.init(client, target: target, loop: run.loop, router: run.router)
    }
}
