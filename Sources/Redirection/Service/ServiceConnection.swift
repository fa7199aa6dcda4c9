// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// Connects to a service for one visitor, then leaves the two joined to a ``StreamBridge``.
final class ServiceConnection {
    private let service: Service
    private let directory: ServiceDirectory
    private let bridge: StreamBridge
    private let endpoint: Endpoint
    private var addresses: [TransportAddress] = []
    private var attempt: TCPStream?
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

    private func begin(_ addresses: [TransportAddress]) {
        self.addresses = addresses.prefix(Self.mostAddresses).reversed()
        tryNext(after: nil)
    }

    private func tryNext(after error: UVError?) {
        attempt = nil
        directory.connecting.remove(self)
        var error = error
        guard !endpoint.hasEnded else { return settle() }
        while let address = addresses.popLast() {
            if let gate, !gate.permits(address) { continue }
            do throws(UVError) {
                attempt = try TCPStream.connect(
                    loop: directory.loop, to: address, readPool: directory.loop.buffers, delegate: self)
            } catch let failure {
                error = failure
                continue
            }
            // The kernel's own patience is minutes, also for a service on this host whose backlog is full.
            return directory.connecting.append(self)
        }
        fail(error)
    }

    private func fail(_ error: UVError?) {
        if let error { return fail(error.description, EndpointResetCode(error)) }
        if gate != nil { return fail("none of its addresses may be reached", .notAllowed) }
        fail("its name has no address", .unreachable)
    }

    /// The present attempt has taken too long.
    func timedOut() {
        attempt?.close()
        tryNext(after: .timedOut)
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
        attempt?.close()
        attempt = nil
        directory.connecting.remove(self)
        settle()
    }
}

extension ServiceConnection: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        directory.connecting.remove(self)
        attempt = nil
        if gate != nil { stream.setKeepAlive(Self.silence) }
        settle()
        guard !endpoint.hasEnded else { return stream.reset() }
        endpoint.confirm()
        if service.description.sendsProxyHeader { stream.write(proxyHeader()) }
        bridge.join(stream)
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) { tryNext(after: error) }
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
