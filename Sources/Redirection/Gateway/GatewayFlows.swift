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
        if let sender = targets[destination]?.senders[source] {
            sender.flow?.send(datagram)
            return
        }
        switch gateway.way(to: destination) {
        case .refused(let why): gateway.tell(of: destination, why, from: source)
        case .names(let server): answer(datagram, server, from: source, meantFor: destination)
        case .to(let place): open(to: place, for: destination, from: source)?.flow?.send(datagram)
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
    ) -> FlowSender? {
        guard flows < gateway.plan.flows, opens.take(now: gateway.loop.now) else {
            gateway.turnedAway("flows", limit: gateway.plan.flows)
            return nil
        }
        guard let target = targets[destination] ?? newTarget(destination) else { return nil }
        let sender = FlowSender(source, target: target, loop: gateway.loop, router: gateway.router)
        target.senders[source] = sender
        flows += 1
        if timer == nil { arm() }
        sender.open(place)
        return sender
    }

    private func newTarget(_ destination: TransportAddress) -> GatewayTarget? {
        guard targets.count < GatewayFlows.mostTargets else {
            gateway.turnedAway("destinations of datagrams", limit: GatewayFlows.mostTargets)
            return nil
        }
        do throws(UVError) {
            let target = try GatewayTarget(destination, gateway: gateway)
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
            for (source, sender) in target.senders where sender.isIdle(for: gateway.plan.flowTimeout) {
                target.senders[source] = nil
                sender.close()
                flows -= 1
            }
            guard target.senders.isEmpty else { continue }
            targets[destination] = nil
            target.close()
        }
        if !targets.isEmpty { return arm() }
        timer.close()
        self.timer = nil
    }
}

/// One destination, in whose name is answered.
private final class GatewayTarget: FlowDestination, UDPSocketDelegate {
    private let destination: TransportAddress
    private unowned let gateway: Gateway
    private var socket: UDPSocket?
    var senders: [TransportAddress: FlowSender] = [:]

    init(_ destination: TransportAddress, gateway: Gateway) throws(UVError) {
        self.destination = destination
        self.gateway = gateway
        socket = try UDPSocket(loop: gateway.loop, inTheNameOf: destination, delegate: self)
    }

    func close() {
        for sender in senders.values { sender.close() }
        senders = [:]
        socket?.close()
        socket = nil
    }

    func answer(_ data: RawSpan, to client: TransportAddress) { socket?.send(data, to: client) }

    func failed(_ why: String) { gateway.tell(of: destination, why, from: nil) }

    /// What answers in another's name hears nothing.
    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {}
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}
