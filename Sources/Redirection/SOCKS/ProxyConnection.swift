// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// One client of a proxy, from its first byte until it is joined to what it asked for, or has left.
///
///     reading ──CONNECT──▶ routing ──opened──▶ over (a bridge goes on)
///        │  └──UDP ASSOCIATE──▶ associated ──client's end──▶ over
///        └──refused──▶ leaving ◀──refused── routing
///                         └──client's end, or too long──▶ over
final class ProxyConnection: PendingConnection {
    private enum Phase { case reading, routing, associated, leaving, over }

    private(set) var socket: TCPStream?
    var pending = PendingPlace()
    let source: TransportAddress
    private let port: ProxyPort
    private var phase = Phase.reading
    private var reader: ProxyRequestReader
    private var request: ProxyRequest?
    private var endpoint: Endpoint?
    private var association: UDPAssociation?
    private var hasReceivedEnd = false

    init(_ socket: TCPStream, from source: TransportAddress, port: ProxyPort) {
        self.socket = socket
        self.source = source
        self.port = port
        reader = ProxyRequestReader(credentials: port.credentials)
        socket.delegate = self
    }

    func start() {
        port.pending.add(self, for: port.limits.request)
        socket?.startReading()
    }

    // MARK: - The request

    private func read() {
        while phase == .reading {
            switch reader.next() {
            case .needMore: return
            case .reply(let bytes): write(bytes)
            case .request(let request): begin(request)
            case .failed(let reply, let reason):
                port.failed(reason, destination: nil, source)
                refuse(reply)
            }
        }
    }

    private func begin(_ request: ProxyRequest) {
        self.request = request
        switch request.command {
        case .connect: findRoute(to: request.destination)
        case .udpAssociate: associate(request)
        }
    }

    private func findRoute(to destination: ProxyDestination) {
        phase = .routing
        // What else the client sends waits in the kernel.
        socket?.stopReading()
        port.pending.add(self, for: port.limits.routing)
        port.router.open(.stream, to: destination.hostAndPort, source: source, application: self) { [self] result in
            switch result {
            case .success(let endpoint): found(endpoint)
            case .failure(let failure): fail(failure.code, because: failure.message)
            }
        }
    }

    /// The endpoint may have opened or ended before this is told.
    private func found(_ endpoint: Endpoint) {
        guard phase == .routing else {
            if endpoint.application === self { endpoint.abandon(.reset) }
            return
        }
        self.endpoint = endpoint
        if endpoint.hasEnded { return fail(.unreachable, because: "the way there has ended") }
        if endpoint.isOpen { join(endpoint) }
    }

    private func join(_ endpoint: Endpoint) {
        guard let socket, let request else { return endpoint.abandon(.reset) }
        write(request.reply(.succeeded))
        let bridge = StreamBridge(owner: port, loop: port.loop, halfClosed: port.limits.halfClosed)
        endpoint.application = bridge
        letGo()
        bridge.join(endpoint)
        bridge.begin(with: reader.takeLeftover(), isAll: hasReceivedEnd)
        bridge.join(socket)
    }

    private func associate(_ request: ProxyRequest) {
        guard let socket, let local = socket.localAddress else { return end() }
        do throws(UVError) {
            let association = try UDPAssociation(at: local.ip, of: source, request: request, port: port)
            write(request.reply(.succeeded, boundTo: association.address))
            self.association = association
            phase = .associated
            port.pending.remove(self)
        } catch {
            fail(.internalError, because: "there is no socket for datagrams: \(error)")
        }
    }

    // MARK: - The end

    /// Tells the client why it can't be served.
    private func fail(_ code: EndpointResetCode, because why: String) {
        guard phase == .routing || phase == .reading, let request else { return }
        port.failed(why, destination: request.destination, source)
        refuse(request.reply(ProxyReply(code), because: "\(request.destination): \(why)"))
    }

    /// Says the last word, and waits for the client to leave: what it may have sent meanwhile would turn the end into a
    /// reset, before it has read why.
    private func refuse(_ reply: [UInt8]) {
        abandonRoute(.timedOut)
        guard !reply.isEmpty, !hasReceivedEnd else {
            write(reply)
            return end()
        }
        phase = .leaving
        write(reply)
        socket?.finishWriting()
        socket?.startReading()
        port.pending.add(self, for: port.limits.leaving)
    }

    private func abandonRoute(_ code: EndpointResetCode) {
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.abandon(code)
    }

    /// The client's connection is over.
    private func end() {
        guard phase != .over else { return }
        socket?.close()
        abandonRoute(.reset)
        association?.close()
        association = nil
        letGo()
        port.connectionEnded()
    }

    private func letGo() {
        phase = .over
        port.pending.remove(self)
        socket = nil
        endpoint = nil
    }

    private func write(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        socket?.write(port.loop.buffers.lease(copying: bytes.rawSpan))
    }

    func timedOut() {
        switch phase {
        case .reading:
            port.failed("it has not said what it wants within \(port.limits.request)", destination: nil, source)
            end()
        case .routing: fail(.timedOut, because: "there is no route after \(port.limits.routing)")
        case .associated, .leaving, .over: end()
        }
    }

    func disconnected() { end() }
}

extension ProxyConnection: TCPStreamDelegate {
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        switch phase {
        case .reading:
            reader.append(bytes.bytes)
            read()
        case .routing: reader.append(bytes.bytes)
        case .associated, .leaving, .over: break
        }
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        hasReceivedEnd = true
        if phase != .routing { end() }
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) { end() }
}

extension ProxyConnection: EndpointApplication {
    func endpointOpened(_ endpoint: Endpoint) {
        guard phase == .routing else { return endpoint.abandon(.reset) }
        join(endpoint)
    }

    /// Not before it has opened, and then its application is the bridge.
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {}
    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        switch end {
        case .reset(let code): fail(code, because: "\(code)")
        case .sessionTerminated: fail(.sessionEnded, because: "the session on the way there has ended")
        case .finished: fail(.internalError, because: "the way there has ended")
        }
    }
}

extension ProxyReply {
    /// How a route has failed, in the words of RFC 1928, 6.
    init(_ code: EndpointResetCode) {
        switch code {
        case .refused: self = .connectionRefused
        case .unreachable: self = .hostUnreachable
        case .timedOut: self = .timeToLiveExpired
        case .notAllowed: self = .notAllowed
        default: self = .generalFailure
        }
    }
}
