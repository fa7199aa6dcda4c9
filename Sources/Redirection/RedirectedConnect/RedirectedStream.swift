// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// An application's connection: announced, then waiting in the kernel until the far side is connected, then joined to it.
///
///     ROUTING ── the far side is connected ──▶ MEETING ── connected to the application ──▶ JOINED
///        │                                        │
///        └── there is no way ──▶ REFUSING         └── the application is gone ──▶ over
///
/// The announcement may be here before the application has called connect(2): then nobody waits yet, and it is tried again.
final class RedirectedStream {
    private enum State { case routing, meeting, joined, refusing, over }

    let local: TransportAddress
    let destination: TransportAddress
    /// Who is told if it can't be made; nil where it is refused from here.
    private let asker: ConnectionAsker?
    /// Kept until this has ended, also when the run is closed before.
    private let run: RedirectedRun
    private var bridge: StreamBridge?
    private var endpoint: Endpoint?
    private var state = State.routing
    private let announcedAt: Instant
    private var attempts = 0
    /// How often refusing had no effect.
    private var refusals = 0
    private var failure = EndpointResetCode.noError
    private var timer: LoopTimer?
    /// The bridge has ended before there was a connection.
    private var bridgeIsOver = false

    /// How long after the announcement the application's connect(2) is waited for.
    private static let patience: Duration = .seconds(1)
    private static let mostRefusals = 8
    /// Until an asker has room: a second.
    private static let mostTellings = 200

    init(
        from local: TransportAddress, to destination: TransportAddress, asker: ConnectionAsker?, run: RedirectedRun
    ) {
        self.local = local
        self.destination = destination
        self.asker = asker
        self.run = run
        announcedAt = run.loop.now
    }

    private var port: HeldTCPPort? { run.port(for: local) }

    // MARK: The way there

    func start(_ target: HostAndPort) {
        run.router.open(.stream, to: target, source: local, application: self) { [weak self] result in
            guard let self, state == .routing || state == .meeting || state == .joined else {
                if case .success(let endpoint) = result { endpoint.abandon(.noError) }
                return
            }
            switch result {
            case .success(let endpoint): if state == .routing { found(endpoint) }
            case .failure(let failure): fail(failure.code, failure.message)
            }
        }
    }

    private func found(_ endpoint: Endpoint) {
        guard !endpoint.hasEnded else { return fail(.unreachable, "its endpoint has ended") }
        self.endpoint = endpoint
    }

    /// There is no way: the application's connect(2) is to fail.
    func fail(_ code: EndpointResetCode, _ why: String) {
        guard state == .routing else { return }
        state = .refusing
        failure = code
        abandonEndpoint(.noError)
        run.failed(self, code, why)
        refuse()
    }

    /// It has waited for too long.
    func expire(after patience: Duration) {
        if state == .routing, run.loop.now - announcedAt >= patience { fail(.timedOut, "no answer in \(patience)") }
    }

    /// Nobody wants it any more: the application has begun another one, or the run is over.
    /// - Parameter refuses: whether what waits there now is this one.
    func cancel(refuses: Bool) {
        switch state {
        case .routing:
            if refuses { _ = port?.refuse(local) }
            abandonEndpoint(.reset)
        // Who would be met now has been announced anew, for another place perhaps.
        case .meeting: bridge?.refuse(.reset)
        case .refusing: break
        case .joined, .over: return
        }
        end()
    }

    private func abandonEndpoint(_ code: EndpointResetCode) {
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.abandon(code)
    }

    // MARK: The application

    private func refuse(isAgain: Bool = false) {
        guard state == .refusing else { return }
        if let asker { return tell(asker) }
        switch port?.refuse(local, isAgain: isAgain) {
        case .nobody?: if !tryAgain() { end() }
        case .noEffect? where refusals < Self.mostRefusals:
            refusals += 1
            arm(after: .milliseconds(260))
        case .done?, .noEffect?, nil: end()
        }
    }

    private func tell(_ asker: ConnectionAsker) {
        guard !run.tell(asker, self, failure), refusals < Self.mostTellings else { return end() }
        refusals += 1
        arm(after: .milliseconds(5))
    }

    private func meet() {
        guard state == .meeting else { return }
        do throws(UVError) {
            guard let port else { throw .addressNotAvailable }
            _ = try port.meet(local, readPool: run.loop.buffers, delegate: self)
        } catch { missed() }
    }

    /// Nobody is there. Perhaps not yet.
    private func missed() {
        guard state == .meeting, !tryAgain() else { return }
        bridge?.refuse(.reset)
        end()
    }

    private func tryAgain() -> Bool {
        guard run.loop.now - announcedAt < Self.patience else { return false }
        arm(after: .milliseconds(1 << min(attempts, 7)))
        attempts += 1
        return true
    }

    private func arm(after delay: Duration) {
        let timer = self.timer ?? LoopTimer(loop: run.loop, delegate: self)
        timer.arm(after: delay)
        self.timer = timer
    }

    private func end() {
        guard state != .over else { return }
        state = .over
        timer?.close()
        timer = nil
        bridge = nil
        run.ended(self)
    }
}

/// Until the far side is connected. From then on the bridge is the endpoint's application.
extension RedirectedStream: EndpointApplication {
    func endpointOpened(_ endpoint: Endpoint) {
        guard state == .routing else { return }
        self.endpoint = nil
        state = .meeting
        let bridge = StreamBridge(owner: self, loop: run.loop, halfClosed: run.limits.halfClosed)
        self.bridge = bridge
        endpoint.application = bridge
        bridge.join(endpoint)
        meet()
    }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {}
    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        switch end {
        case .finished: fail(.refused, "its endpoint has ended")
        case .reset(let code): fail(code, "\(code)")
        case .sessionTerminated: fail(.sessionEnded, "the session on the way there has ended")
        }
    }
}

/// Until the application is connected. From then on the bridge is the connection's delegate.
extension RedirectedStream: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        guard state == .meeting, let bridge else { return stream.reset() }
        state = .joined
        timer?.close()
        timer = nil
        bridge.join(stream)
        if bridgeIsOver { end() }
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        guard state == .meeting, error.isReset else { return missed() }
        // The application was met, and has left already.
        bridge?.refuse(.reset)
        end()
    }
}

extension RedirectedStream: BridgeOwner {
    func bridgeEnded(_ bridge: AnyObject) {
        // The application is still to be met, so that it hears what came before the end, or of the reset.
        if state == .meeting { bridgeIsOver = true } else { end() }
    }
}

extension RedirectedStream: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        if state == .refusing { refuse(isAgain: refusals > 0) } else { meet() }
    }
}
