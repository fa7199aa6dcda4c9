// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// One visitor's datagrams, on a socket of their own to the service, so that its answers find their way back.
final class ServiceFlow {
    private let service: Service
    let directory: ServiceDirectory
    private let gate: (any ServiceGate)?
    private var endpoint: Endpoint?
    private var socket: UDPSocket?
    private var timer: LoopTimer?
    private var lastActive: Instant
    /// What came while the service's name was looked up: copied, for a slice would hold the buffer that it came in.
    private var early: [[UInt8]] = []

    /// What the far side is told where there is no socket.
    private var refusal = EndpointResetCode.unreachable

    private static let earlyDatagrams = 4

    init(service: Service, endpoint: Endpoint, directory: ServiceDirectory, gate: (any ServiceGate)?) {
        self.gate = gate
        self.service = service
        self.endpoint = endpoint
        self.directory = directory
        lastActive = directory.loop.now
    }

    func start() {
        if let known = service.known { return open(known) }
        service.resolve { [self] result in
            switch result {
            case .success(let found): open(found)
            case .failure(let error): fail(error.description, .unreachable)
            }
        }
    }

    private func open(_ addresses: [TransportAddress]) {
        guard endpoint != nil else { gate?.settled(); return }
        var failure: UVError?
        for address in addresses where gate?.permits(address) ?? true {
            do throws(UVError) {
                let socket = try UDPSocket(loop: directory.loop, connectedTo: address, delegate: self)
                return opened(socket)
            } catch { failure = error }
        }
        if let failure { return fail(failure.description, EndpointResetCode(failure)) }
        if gate != nil { return fail("none of its addresses may be reached", .notAllowed) }
        fail("its name has no address", .unreachable)
    }

    private func opened(_ socket: UDPSocket) {
        gate?.settled()
        self.socket = socket
        for datagram in early { socket.send(datagram.rawSpan, to: nil) }
        early = []
        let timer = LoopTimer(loop: directory.loop, delegate: self)
        timer.arm(after: directory.limits.flowTimeout)
        self.timer = timer
        endpoint?.confirm()
    }

    private func fail(_ reason: String, _ code: EndpointResetCode) {
        if let gate { gate.failed(reason, code) } else { directory.failed(service, reason) }
        gate?.settled()
        refusal = code
        // In a turn of its own: the endpoint may not have been accepted yet.
        directory.loop.atTurnEnd(self)
    }

    private func close() {
        early = []
        socket?.close()
        socket = nil
        timer?.close()
        timer = nil
    }
}

extension ServiceFlow: TurnEndTask {
    func turnEnded() { endpoint?.reset(refusal) }
}

extension ServiceFlow: UDPSocketDelegate {
    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        lastActive = directory.loop.now
        endpoint?.send(directory.loop.buffers.lease(copying: datagram))
    }

    /// The service's host says that nobody listens there. It may yet: the flow lives on until it is idle.
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}

extension ServiceFlow: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        let idle = directory.loop.now - lastActive
        if idle >= directory.limits.flowTimeout {
            endpoint?.finishSending()
        } else {
            timer.arm(after: directory.limits.flowTimeout - idle)
        }
    }
}

extension ServiceFlow: EndpointApplication {
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        lastActive = directory.loop.now
        if let socket { return socket.send(bytes.bytes, to: nil) }
        guard early.count < Self.earlyDatagrams else { return }
        var datagram: [UInt8] = []
        datagram.append(copying: bytes.bytes)
        early.append(datagram)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        close()
        directory.flowEnded()
        gate?.flowEnded()
    }
}
