// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// Whose datagrams a ``DatagramFlow`` carries.
protocol DatagramFlowOwner: AnyObject {
    var loop: EventLoop { get }
    var router: any Router { get }
    /// The application's socket.
    var client: TransportAddress { get }
    /// A datagram from the far side.
    func flow(_ flow: DatagramFlow, received data: RawSpan)
    func flow(_ flow: DatagramFlow, failed why: String)
}

/// The datagrams between one application's socket and one destination.
///
/// A flow that has failed stays for a while, and drops what the client goes on sending: otherwise each of the datagrams
/// would have a route looked for.
final class DatagramFlow {
    private enum State { case routing, ready, ended }

    let destination: ProxyDestination
    private(set) var lastActive: Instant
    private let loop: EventLoop
    /// What the owner puts before each datagram, where it does: made once.
    let header: [UInt8]
    private weak var owner: (any DatagramFlowOwner)?
    private var state = State.routing
    private var endpoint: Endpoint?
    private var reopens = Instant.distantFuture
    /// What came before there was a route: copied, for a slice would hold the buffer that it came in.
    private var early: [[UInt8]] = []

    private static let earlyDatagrams = 16
    /// How long after a failure nothing is tried.
    private static let pause: Duration = .seconds(2)

    init(to destination: ProxyDestination, of owner: any DatagramFlowOwner, header: [UInt8] = []) {
        self.destination = destination
        self.header = header
        self.owner = owner
        loop = owner.loop
        lastActive = loop.now
    }

    func open() {
        guard let owner else { return }
        state = .routing
        owner.router.open(
            .datagram, to: destination.hostAndPort, source: owner.client, application: self
        ) { [weak self] result in
            switch (result, self) {
            case (.success(let endpoint), nil): endpoint.abandon(.noError)
            case (.success(let endpoint), let flow?): flow.found(endpoint)
            case (.failure(let failure), let flow): flow?.fail(failure.message)
            }
        }
    }

    func send(_ data: RawSpan) {
        lastActive = loop.now
        switch state {
        case .ready: transmit(data)
        case .routing: keep(data)
        case .ended where reopens <= loop.now:
            keep(data)
            open()
        case .ended: break
        }
    }

    /// The association is over, or nothing has passed for long.
    func close() {
        state = .ended
        early = []
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.application = nil
        endpoint?.finishSending()
    }

    private func keep(_ data: RawSpan) {
        guard early.count < Self.earlyDatagrams else { return }
        var datagram: [UInt8] = []
        datagram.append(copying: data)
        early.append(datagram)
    }

    private func transmit(_ data: RawSpan) {
        endpoint?.send(loop.buffers.lease(copying: data))
    }

    private func found(_ endpoint: Endpoint) {
        guard state != .ended else { return endpoint.abandon(.noError) }
        guard !endpoint.hasEnded else { return fail("the way there has ended") }
        self.endpoint = endpoint
        // Before a provider has it, it takes nothing.
        if endpoint.instance != nil { becomeReady() }
    }

    private func becomeReady() {
        guard state == .routing else { return }
        state = .ready
        for datagram in early { transmit(datagram.rawSpan) }
        early = []
    }

    private func fail(_ why: String) {
        guard state != .ended else { return }
        state = .ended
        endpoint = nil
        early = []
        reopens = loop.now + Self.pause
        owner?.flow(self, failed: why)
    }
}

extension DatagramFlow: EndpointApplication {
    func endpointOpened(_ endpoint: Endpoint) {
        guard state == .routing else { return }
        self.endpoint = endpoint
        becomeReady()
    }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        guard state != .ended else { return }
        lastActive = loop.now
        owner?.flow(self, received: bytes.bytes)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        guard state != .ended else { return }
        self.endpoint = nil
        switch end {
        case .finished:
            state = .ended
            reopens = loop.now
        case .reset(let code): fail("\(code)")
        case .sessionTerminated: fail("the session on the way there has ended")
        }
    }
}
