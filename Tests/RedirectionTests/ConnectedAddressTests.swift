// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Logging
import Primitives
import Proxying
import Redirection
import Telemetry
import Testing

/// The address that a visitor had connected to goes with him to the service:
///
///      visitor ──▶ exposed port ──▶ endpoint ──▶ service directory ──PROXY v2──▶ service
@Suite struct ConnectedAddressTests {
    /// Where a port listens, and where visitors connect to.
    static let places: [(listens: String, asked: String)] = [
        ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("127.0.0.3", "127.0.0.3"), ("::", "::1"), ("::1", "::1"),
    ]

    @Test(arguments: places) func headerNamesBothAddresses(place: (listens: String, asked: String)) throws {
        let way = try Way()
        defer { way.end() }
        let service = Recorder(way.loop)
        let listener = try TCPListener(
            loop: way.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: way.loop.buffers,
            delegate: service)
        let target = try #require(listener.localAddress)
        let port = try ExposedTCPPort(
            loop: way.loop, platform: way.relay, addresses: [try #require(IPAddress(place.listens))],
            port: try way.freePort(), limits: Way.limits, log: way.log)
        port.owner = way.owner
        way.directory.set(
            ServiceDescription(target: HostAndPort(host: "127.0.0.1", port: target.port), sendsProxyHeader: true),
            for: .init(kind: .stream, port: port.port))
        let asked = TransportAddress(try #require(IPAddress(place.asked)), port: port.port)
        let visitor = try TCPStream.connect(
            loop: way.loop, to: asked, readPool: way.loop.buffers, delegate: Recorder(way.loop))
        way.run()
        let header = try ProxyHeader.parse(stream: service.bytes.rawSpan)?.header
        let source = try #require(visitor.localAddress)
        #expect(header == .proxied(.stream, source: source, destination: asked))
        port.close()
    }

    /// Two addresses of one wildcard socket are two flows of one visitor, and each answer comes from where it was asked.
    @Test func flowsAreKeptByAddress() throws {
        let way = try Way()
        defer { way.end() }
        let port = try ExposedUDPPort(
            loop: way.loop, platform: way.relay, addresses: [.anyV4], port: try way.freePort(), limits: Way.limits,
            flows: FlowBudget(limit: 10), log: way.log)
        port.owner = way.owner
        let service = Recorder(way.loop)
        service.echoes = true
        let socket = try UDPSocket(loop: way.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: service)
        let target = try #require(socket.localAddress)
        way.directory.set(
            ServiceDescription(target: HostAndPort(host: "127.0.0.1", port: target.port)),
            for: .init(kind: .datagram, port: port.port))
        let visitor = Recorder(way.loop)
        visitor.wanted = 2
        let end = try UDPSocket(loop: way.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: visitor)
        let asked = ["127.0.0.1", "127.0.0.2"].compactMap { TransportAddress("\($0):\(port.port)") }
        for address in asked { end.send([1].rawSpan, to: address) }
        way.run()
        #expect(Set(visitor.senders) == Set(asked))
        #expect(port.visitors == 2 && way.destinations == asked.map(\.ip))
        port.close()
    }
}

/// A relay's platform and a node's, and a provider that hands the endpoints of one to the other.
private final class Way: LoopTimerDelegate {
    let loop: EventLoop
    let relay = Platform(random: SystemRandomNumberGenerator())
    let node = Platform(random: SystemRandomNumberGenerator())
    let directory: ServiceDirectory
    let owner: PortOwner
    let log = LogSampler(Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    private let ends: (Crossing, Crossing)
    private var timer: LoopTimer?
    private var hung = false

    static let limits = ExposedPortLimits(visitors: 10, flowTimeout: .seconds(10))

    init() throws {
        loop = try EventLoop()
        let ids = (TransportID(IPAddress(v6: 1 << 64)), TransportID(IPAddress(v6: 2 << 64)))
        ends = (Crossing(loop, remote: ids.1), Crossing(loop, remote: ids.0))
        directory = ServiceDirectory(
            loop: loop, limits: ServiceLimits(connectTimeout: .seconds(5), flowTimeout: .seconds(10), flows: 10),
            log: log)
        node.acceptor = directory
        let instance = try relay.createInstance(provider: ends.0, name: "node")
        let other = try node.createInstance(provider: ends.1, name: "relay")
        owner = PortOwner(instance: instance, local: ids.0, remote: ids.1)
        for (instance, id) in [(instance, ids.0), (other, ids.1)] {
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [id], now: loop.now)
        }
        ends.0.far = other
        ends.1.far = instance
    }

    /// What the endpoints at the node say that visitors had asked for.
    var destinations: [IPAddress?] { ends.0.destinations }

    func run() {
        let timer = LoopTimer(loop: loop, delegate: self)
        timer.arm(after: .seconds(10))
        loop.run()
        timer.close()
        #expect(!hung, "the test hung")
    }

    func timerFired(_ timer: LoopTimer) {
        hung = true
        loop.stop()
    }

    /// A port on which nobody listens now.
    func freePort() throws -> UInt16 {
        let probe = try TCPListener(
            loop: loop, address: TransportAddress(.anyV4, port: 0), readPool: loop.buffers, delegate: Recorder(loop))
        defer { probe.close() }
        return try #require(probe.localAddress).port
    }

    func end() {
        relay.shutdown(now: loop.now)
        node.shutdown(now: loop.now)
        loop.closeAll()
        (ends.0.far, ends.1.far) = (nil, nil)
    }
}

/// One end of a provider without a wire.
private final class Crossing: Provider {
    var far: ProviderInstance?
    private(set) var destinations: [IPAddress?] = []
    private let loop: EventLoop
    private let remote: TransportID

    init(_ loop: EventLoop, remote: TransportID) {
        self.loop = loop
        self.remote = remote
    }

    func establishSessionIndication(_ instance: ProviderInstance) {}
    func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        try? instance.deregister(now: loop.now)
        try? instance.destroy()
    }
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        id == remote ? .completed : .refused
    }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        (endpoint.providerContext as? Endpoint)?.indicateReceived(bytes)
        return .completed
    }

    func openEndpoint(_ endpoint: Endpoint) {
        destinations.append(endpoint.destination.address)
        let other = try? far?.indicateEndpoint(
            kind: endpoint.kind, local: endpoint.remote, remote: endpoint.local, destination: endpoint.destination,
            source: endpoint.source, providerContext: endpoint)
        guard let other else { return endpoint.indicateReset(.refused) }
        endpoint.providerContext = other
        endpoint.indicateOpened()
        for end in [endpoint, other] where end.kind == .stream { end.indicateSendRoom(1 << 20) }
    }

    func finishSending(_ endpoint: Endpoint) {
        (endpoint.providerContext as? Endpoint)?.indicateReceivedEnd()
    }
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {
        (endpoint.providerContext as? Endpoint)?.indicateReset(code)
    }
    func endpoint(_ endpoint: Endpoint, consumed count: Int) {}
}

/// Keeps what comes, and stops the loop once there is enough.
private final class Recorder: TCPListenerDelegate, TCPStreamDelegate, UDPSocketDelegate {
    private let loop: EventLoop
    private(set) var bytes: [UInt8] = []
    private(set) var senders: [TransportAddress] = []
    var echoes = false
    var wanted = Int.max

    init(_ loop: EventLoop) { self.loop = loop }

    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        stream.delegate = self
        stream.startReading()
    }
    func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        bytes.withUnsafeBytes { self.bytes.append(contentsOf: $0) }
        loop.stop()
    }
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) {}

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        senders.append(address)
        if echoes { socket.send(datagram, to: address, from: local) }
        if senders.count == wanted { loop.stop() }
    }
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}
