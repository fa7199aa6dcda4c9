// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// Connects to a service for one visitor, then leaves the two joined to a ``StreamBridge``. A name's addresses are tried as
/// RFC 8305 has it: the next one beside the last where that takes long, and the first that connects is taken.
final class ServiceConnection {
    private let service: Service
    private let directory: ServiceDirectory
    private let bridge: StreamBridge
    private let endpoint: Endpoint
    /// Addresses that are left, the next one last.
    private var addresses: [TransportAddress] = []
    /// Connections that are being made, the oldest first.
    private var attempts: [TCPStream] = []
    /// Why the last of those that failed did.
    private var error: UVError?
    private var timer: LoopTimer?
    /// What the far side is told where there is no connection.
    private var refusal = EndpointResetCode.unreachable
    /// Until it is settled.
    private var gate: (any ServiceGate)?
    /// Its place among those that are being connected, and until when.
    var previous: ServiceConnection?
    var next: ServiceConnection?
    var deadline = Instant.distantFuture

    /// Addresses of one name that are tried.
    private static let mostAddresses = 16
    /// Where the way is guarded the far end may be any host: one that is silent for so long is asked whether it is still
    /// there, for one that vanished would hold the connection for ever.
    private static let silence: Duration = .seconds(300)

    init(service: Service, endpoint: Endpoint, directory: ServiceDirectory, gate: (any ServiceGate)?) {
        self.service = service
        self.gate = gate
        self.endpoint = endpoint
        self.directory = directory
        bridge = StreamBridge(owner: directory, loop: directory.loop, halfClosed: directory.limits.halfClosed)
        bridge.join(endpoint)
        endpoint.application = bridge
    }

    func start() {
        bridge.dialer = self
        if let known = service.known { return begin(known) }
        service.resolve { [self] result in
            switch result {
            case .success(let found): begin(found)
            case .failure(let error): fail(error.description, .unreachable)
            }
        }
    }

    private func begin(_ found: [TransportAddress]) {
        addresses = HappyEyeballs.interleaved(found).prefix(Self.mostAddresses).reversed()
        tryNext()
    }

    /// Tries the next address beside those that are being tried; where none is and none is left, it has failed.
    private func tryNext() {
        // It may have gone while its name was looked up, and its gate with it.
        guard !endpoint.hasEnded else {
            endAttempts()
            return settle()
        }
        while let address = addresses.popLast() {
            if let gate, !gate.permits(address) { continue }
            do throws(UVError) {
                attempts.append(
                    try TCPStream.connect(
                        loop: directory.loop, to: address, readPool: directory.loop.buffers, delegate: self))
            } catch let failure {
                error = failure
                continue
            }
            // The kernel's own patience is minutes, also for a service on this host whose backlog is full. It begins anew with
            // each address, so that the last one has all of it.
            directory.connecting.remove(self)
            directory.connecting.append(self)
            return waitForNext()
        }
        if attempts.isEmpty { fail() }
    }

    /// Another address is tried beside the last one if that takes long.
    private func waitForNext() {
        guard !addresses.isEmpty else { return }
        let timer = self.timer ?? LoopTimer(loop: directory.loop, delegate: self)
        timer.arm(after: HappyEyeballs.delay)
        self.timer = timer
    }

    /// Tries one more, where others are being tried and the gate lets it.
    private func tryAnother() {
        guard let gate, !attempts.isEmpty else { return tryNext() }
        guard gate.takesAnother() else { return waitForNext() }
        let before = attempts.count
        tryNext()
        if attempts.count == before { gate.anotherEnded() }
    }

    /// One has failed: the next one's turn is now.
    private func failed(_ stream: TCPStream, _ failure: UVError) {
        guard let index = attempts.firstIndex(where: { $0 === stream }) else { return }
        attempts.remove(at: index)
        if !attempts.isEmpty { gate?.anotherEnded() }
        error = failure
        timer?.disarm()
        tryAnother()
    }

    /// Nothing is tried any more, but for the one that is connected.
    private func endAttempts(but connected: TCPStream? = nil) {
        directory.connecting.remove(self)
        timer?.close()
        timer = nil
        for _ in attempts.dropFirst() { gate?.anotherEnded() }
        for attempt in attempts where attempt !== connected { attempt.close() }
        attempts = []
    }

    private func fail() {
        endAttempts()
        if let error { return fail(error.description, EndpointResetCode(error)) }
        if gate != nil { return fail("none of its addresses may be reached", .notAllowed) }
        fail("its name has no address", .unreachable)
    }

    /// The last of those that are being tried has taken too long, and so have all before it.
    func timedOut() {
        endAttempts()
        error = .timedOut
        tryNext()
    }

    private func fail(_ reason: String, _ code: EndpointResetCode) {
        if let gate { gate.failed(reason, code) } else { directory.failed(service, reason) }
        settle()
        refusal = code
        // In a turn of its own where the endpoint has not been accepted yet: before that the code would get lost.
        if endpoint.isOpen { turnEnded() } else { directory.loop.atTurnEnd(self) }
    }

    private func settle() {
        gate?.settled()
        gate = nil
    }

    /// Who the visitor is and where he had connected to; an unspecified address where the far side has not told that.
    private func proxyHeader() -> Slice {
        let pool = directory.loop.buffers
        guard let source = endpoint.source else { return pool.lease(copying: ProxyHeader.local.bytes.rawSpan) }
        let unknown = source.ip.canonical.family == .v4 ? IPAddress.anyV4 : IPAddress.anyV6
        let destination = TransportAddress(
            endpoint.destination.address ?? unknown, port: endpoint.destination.port)
        let header = ProxyHeader.proxied(.stream, source: source, destination: destination)
        return pool.lease(copying: header.bytes.rawSpan)
    }

}

extension ServiceConnection: TurnEndTask {
    func turnEnded() { bridge.refuse(refusal) }
}

extension ServiceConnection: BridgeDialer {
    /// Its place among those under way is free at once, whatever the service would have answered.
    func bridgeAbandoned() {
        addresses = []
        endAttempts()
        settle()
    }
}

extension ServiceConnection: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        endAttempts(but: stream)
        if gate != nil { stream.setKeepAlive(Self.silence) }
        settle()
        guard !endpoint.hasEnded else { return stream.reset() }
        endpoint.confirm()
        if service.description.sendsProxyHeader { stream.write(proxyHeader()) }
        bridge.join(stream)
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) { failed(stream, error) }
}

extension ServiceConnection: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) { tryAnother() }
}

extension EndpointResetCode {
    /// Why nothing can be connected.
    init(_ error: UVError) {
        switch error {
        case let error where error.isRefused: self = .refused
        case let error where error.isTimeout: self = .timedOut
        case let error where error.isShortage: self = .limit
        default: self = .unreachable
        }
    }
}
