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
    /// Its place among those that are being connected, and until when.
    var previous: ServiceConnection?
    var next: ServiceConnection?
    var deadline = Instant.distantFuture

    init(service: Service, endpoint: Endpoint, directory: ServiceDirectory) {
        self.service = service
        self.endpoint = endpoint
        self.directory = directory
        bridge = StreamBridge(owner: directory, loop: directory.loop, halfClosed: directory.limits.halfClosed)
        bridge.join(endpoint)
        endpoint.application = bridge
    }

    func start() {
        if let known = service.known { return begin(known) }
        service.resolve { [self] result in
            switch result {
            case .success(let found): begin(found)
            case .failure(let error): fail(error.description, .unreachable)
            }
        }
    }

    private func begin(_ addresses: [TransportAddress]) {
        self.addresses = addresses.reversed()
        tryNext(after: nil)
    }

    private func tryNext(after error: UVError?) {
        attempt = nil
        directory.connecting.remove(self)
        guard !endpoint.hasEnded else { return }
        guard let address = addresses.popLast() else {
            return fail(error?.description ?? "its name has no address", EndpointResetCode(error))
        }
        do throws(UVError) {
            attempt = try TCPStream.connect(
                loop: directory.loop, to: address, readPool: directory.loop.buffers, delegate: self)
        } catch {
            return tryNext(after: error)
        }
        // The kernel's own patience is minutes, also for a service on this host whose backlog is full.
        directory.connecting.append(self)
    }

    /// The present attempt has taken too long.
    func timedOut() {
        attempt?.close()
        tryNext(after: .timedOut)
    }

    private func fail(_ reason: String, _ code: EndpointResetCode) {
        directory.failed(service, reason)
        bridge.refuse(code)
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

extension ServiceConnection: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        directory.connecting.remove(self)
        attempt = nil
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
    init(_ error: UVError?) {
        switch error {
        case .some(let error) where error.isRefused: self = .refused
        case .some(let error) where error.isTimeout: self = .timedOut
        default: self = .unreachable
        }
    }
}
