// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives
internal import Proxying

/// The datagrams of the hosts behind a gateway: a flow for each source and destination, and for each destination one socket
/// that answers in its name.
final class GatewayFlows {
    private unowned let gateway: Gateway
    private var targets: [TransportAddress: GatewayTarget] = [:]
    private(set) var flows = 0
    private var timer: LoopTimer?
    private var opens: TokenBucket

    /// Destinations at once, each with a socket.
    static let mostTargets = 4_096
    private static let interval: Duration = .seconds(5)

    init(gateway: Gateway) {
        self.gateway = gateway
        opens = TokenBucket(rate: 2_000, burst: 4_000, now: gateway.loop.now)
    }

    func received(_ datagram: RawSpan, from source: TransportAddress, meantFor destination: TransportAddress) {
        // Nobody can answer to port 0 (RFC 768).
        guard source.port != 0, destination.port != 0 else { return }
        if let flow = targets[destination]?.sources[source] { return flow.send(datagram) }
        switch gateway.way(to: destination) {
        case .refused(let why): gateway.tell(of: destination, why, from: source)
        case .names(let server): answer(datagram, server, from: source, meantFor: destination)
        case .to(let place): open(to: place, for: destination, from: source)?.send(datagram)
        }
    }

    /// Ends all of them.
    func close() {
        timer?.close()
        timer = nil
        let all = targets.values
        targets = [:]
        for target in all { target.close() }
        flows = 0
    }

    private func answer(
        _ question: RawSpan, _ server: TransportAddress?, from source: TransportAddress,
        meantFor destination: TransportAddress
    ) {
        gateway.answer(question, meantFor: server) { [weak gateway] answer in
            do throws(UVError) {
                try UDPSocket.send(answer.rawSpan, inTheNameOf: destination, to: source)
            } catch { gateway?.tell(of: source, "the answer can't be sent: \(error)", from: destination) }
        }
    }

    private func open(
        to place: HostAndPort, for destination: TransportAddress, from source: TransportAddress
    ) -> GatewayFlow? {
        guard flows < gateway.plan.flows, opens.take(now: gateway.loop.now) else {
            gateway.turnedAway("flows", limit: gateway.plan.flows)
            return nil
        }
        guard let target = targets[destination] ?? newTarget(destination) else { return nil }
        let flow = GatewayFlow(from: source, to: destination, gateway: gateway, socket: target.socket)
        target.sources[source] = flow
        flows += 1
        if timer == nil { arm() }
        flow.open(place)
        return flow
    }

    private func newTarget(_ destination: TransportAddress) -> GatewayTarget? {
        guard targets.count < GatewayFlows.mostTargets else {
            gateway.turnedAway("destinations of datagrams", limit: GatewayFlows.mostTargets)
            return nil
        }
        do throws(UVError) {
            let target = GatewayTarget(
                try UDPSocket(loop: gateway.loop, inTheNameOf: destination, delegate: NoAnswers()))
            targets[destination] = target
            return target
        } catch {
            gateway.tell(of: destination, "nothing can be sent in its name: \(error)", from: nil)
            return nil
        }
    }

    private func arm() {
        let timer = self.timer ?? LoopTimer(loop: gateway.loop, delegate: self)
        timer.arm(after: GatewayFlows.interval)
        self.timer = timer
    }
}

extension GatewayFlows: LoopTimerDelegate {
    /// Ends flows on which nothing has passed for long.
    func timerFired(_ timer: LoopTimer) {
        for (destination, target) in targets {
            for (source, flow) in target.sources where flow.isIdle(for: gateway.plan.flowTimeout) {
                target.sources[source] = nil
                flow.close()
                flows -= 1
            }
            guard target.sources.isEmpty else { continue }
            targets[destination] = nil
            target.close()
        }
        if !targets.isEmpty { return arm() }
        timer.close()
        self.timer = nil
    }
}

/// One destination, in whose name is answered.
private final class GatewayTarget {
    let socket: UDPSocket
    var sources: [TransportAddress: GatewayFlow] = [:]

    init(_ socket: UDPSocket) { self.socket = socket }

    func close() {
        for flow in sources.values { flow.close() }
        sources = [:]
        socket.close()
    }
}

/// One host's socket that sends to a destination.
private final class GatewayFlow: DatagramFlowOwner {
    let loop: EventLoop
    let router: any Router
    let client: TransportAddress
    private let destination: TransportAddress
    private let socket: UDPSocket
    private weak var gateway: Gateway?
    private var flow: DatagramFlow?

    init(from client: TransportAddress, to destination: TransportAddress, gateway: Gateway, socket: UDPSocket) {
        self.client = client
        self.destination = destination
        self.gateway = gateway
        self.socket = socket
        loop = gateway.loop
        router = gateway.router
    }

    func open(_ place: HostAndPort) {
        let flow = DatagramFlow(to: ProxyDestination(host: place.host, port: place.port), of: self)
        self.flow = flow
        flow.open()
    }

    func send(_ datagram: RawSpan) { flow?.send(datagram) }

    func isIdle(for time: Duration) -> Bool { flow.map { loop.now - $0.lastActive >= time } ?? true }

    func close() {
        flow?.close()
        flow = nil
    }

    func flow(_ flow: DatagramFlow, received data: RawSpan) { socket.send(data, to: client) }

    func flow(_ flow: DatagramFlow, failed why: String) { gateway?.tell(of: destination, why, from: client) }
}

/// What answers in another's name hears nothing.
private final class NoAnswers: UDPSocketDelegate {
    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {}
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}
