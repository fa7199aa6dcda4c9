// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// Where connections come in whose way is clear from the beginning: a port that leads to one place, or the addresses
/// that other hosts' connections were meant for.
protocol ForwardingPort: BridgeOwner {
    var loop: EventLoop { get }
    var router: any Router { get }
    var pending: PendingConnections { get }
    var limits: LocalForwardLimits { get }
    /// A connection has no route. Its end is told besides.
    func failed(to target: HostAndPort, _ why: String, from source: TransportAddress)
}

/// One application's connection until its route is there; then its bridge goes on alone.
///
/// The bridge is the endpoint's application from the beginning, and tells of every end, exactly once: also of those that
/// come before there is an endpoint.
final class ForwardedConnection: PendingConnection {
    private(set) var socket: TCPStream?
    var pending = PendingPlace()
    private let source: TransportAddress
    private let target: HostAndPort
    private let forward: any ForwardingPort
    private let bridge: StreamBridge

    init(_ socket: TCPStream, from source: TransportAddress, to target: HostAndPort, forward: any ForwardingPort) {
        self.socket = socket
        self.target = target
        self.source = source
        self.forward = forward
        bridge = StreamBridge(owner: forward, loop: forward.loop, halfClosed: forward.limits.halfClosed)
        socket.delegate = self
    }

    func start() {
        forward.pending.add(self, for: forward.limits.routing)
        forward.router.open(.stream, to: target, source: source, application: bridge) { [self] result in
            switch result {
            case .success(let endpoint): found(endpoint)
            case .failure(let failure): end(failure.code, because: failure.message)
            }
        }
    }

    private func found(_ endpoint: Endpoint) {
        guard let socket else { return endpoint.abandon(.reset) }
        guard !endpoint.hasEnded else { return end(.unreachable, because: "its endpoint has ended") }
        self.socket = nil
        forward.pending.remove(self)
        bridge.join(endpoint)
        bridge.join(socket)
    }

    /// There is no route.
    private func end(_ code: EndpointResetCode, because why: String) {
        guard socket != nil else { return }
        forward.failed(to: target, why, from: source)
        leave(code)
    }

    private func leave(_ code: EndpointResetCode) {
        guard let socket else { return }
        self.socket = nil
        forward.pending.remove(self)
        socket.reset()
        bridge.refuse(code)
    }

    func timedOut() { end(.timedOut, because: "there is no route after \(forward.limits.routing)") }
    func disconnected() { leave(.reset) }
}

/// Nothing is read before there is a route.
extension ForwardedConnection: TCPStreamDelegate {
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) { leave(.reset) }
}
