// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import TLS
import TestSupport
import Tunneling

/// The relay's end of a tunnel, without a relay: it takes connections and does with them what the test says.
final class RelayEnd: CarrierDelegate, TunnelDelegate {
    let node = TestNode()
    let server: TestServer
    let platform = Platform(random: SeededRandom(2))
    let clock: PlatformClock
    let acceptor = TestAcceptor()
    /// The latest connection.
    private(set) var stream: TCPStream?
    private(set) var carrier: Carrier?
    private(set) var provider: NodeProvider?
    private(set) var instance: ProviderInstance?
    private(set) var hello: Hello?
    private(set) var fault: SessionFault?
    /// What to do with a node that has introduced itself.
    var onHello: (RelayEnd) -> Void = { $0.welcome() }
    /// Does something to a connection in the place of TLS.
    var onAccepted: ((TCPStream) -> Void)?
    var patience: Duration = .seconds(60)
    var livenessInterval: Duration = .seconds(60)
    private let loop: EventLoop
    private let context: TLSContext

    init(_ loop: EventLoop) throws {
        self.loop = loop
        context = try node.context(.server)
        server = try TestServer(loop, pool: loop.carrierBuffers)
        clock = PlatformClock(loop, platform)
        platform.acceptor = acceptor
        server.takes = { [unowned self] stream, _ in accept(stream) }
    }

    var address: HostAndPort { HostAndPort(host: "127.0.0.1", port: server.port) }

    /// What an agent of the node is to know.
    func configuration(_ node: TestNode) throws -> RelayConfiguration {
        try TestAgent.configuration(node, relay: self.node.id, at: [address])
    }

    private func accept(_ stream: TCPStream) {
        self.stream = stream
        if let onAccepted { return onAccepted(stream) }
        guard
            let carrier = try? Carrier(
                loop: loop, transport: stream, context: context, limits: TunnelLimits(),
                livenessInterval: livenessInterval,
                patience: patience)
        else { return }
        self.carrier = carrier
        carrier.delegate = self
        carrier.tunnel.delegate = self
        carrier.start()
    }

    /// Lets go of what the test's closures hold.
    func clear() {
        onHello = { _ in }
        onAccepted = nil
        acceptor.clear()
    }

    /// Admits the node, as a relay would.
    func welcome() {
        guard let carrier else { return }
        let peer = NodeID(subjectPublicKeyInfoDER: carrier.peerPublicKeyDER)
        let provider = NodeProvider(loop: loop, relay: node.id, node: peer, nodeName: "home", carrier: carrier)
        self.provider = provider
        do {
            let instance = try platform.createInstance(provider: provider, name: "node/home")
            self.instance = instance
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [provider.local], now: loop.now)
        } catch {
            fault = SessionFault(.providerOtherFailure, "\(error)")
        }
        provider.welcome(
            Welcome(
                nodeName: "home", transportIDs: [provider.remote.address], observedAddress: .none,
                livenessInterval: livenessInterval, tunnelID: [], resumeToken: [], limits: TunnelLimits()))
    }

    /// Refuses the node, as a relay would.
    func refuse(_ code: GoAwayCode) {
        carrier?.tunnel.goAway(GoAway(code: code, text: "because of the test"))
        carrier?.finish()
    }

    /// Opens an endpoint to the agent, as a visitor would.
    func open(_ application: TestApplication, kind: Endpoint.Kind = .stream, port: UInt16 = 80) throws -> Endpoint {
        guard let provider else { throw LabError("there is no session") }
        let endpoint = try platform.openEndpoint(
            kind: kind, from: provider.local, to: provider.remote, destination: EndpointDestination(port: port),
            source: TransportAddress("192.0.2.7:1234"), over: instance, application: application, now: loop.now)
        application.adopt(endpoint)
        return endpoint
    }

    func carrierEstablished(_ carrier: Carrier) throws(SessionFault) {}
    func carrier(_ carrier: Carrier, failed fault: SessionFault) { self.fault = fault }
    func tunnelHasOutput(_ tunnel: Tunnel) { carrier?.setNeedsOutput() }
    func tunnel(_ tunnel: Tunnel, received hello: Hello) {
        self.hello = hello
        onHello(self)
    }
    func tunnel(_ tunnel: Tunnel, received welcome: Welcome) {}
    func tunnel(_ tunnel: Tunnel, received goAway: GoAway) {}
    func tunnel(_ tunnel: Tunnel, received expose: ExposeRequest) {}
    func tunnel(_ tunnel: Tunnel, received exposed: ExposeAnswer) {}
    func tunnel(_ tunnel: Tunnel, unexpose id: UInt32) {}
    func tunnel(_ tunnel: Tunnel, opened stream: TunnelStream, request: OpenRequest) {}
}

/// Stands between two ends of a connection, and can be shut: then nothing passes, not even the end, and nothing is read.
final class Valve {
    let server: TestServer
    private var streams: [TCPStream] = []

    init(_ loop: EventLoop, to port: UInt16) throws {
        server = try TestServer(loop)
        server.takes = { [unowned self] near, _ in
            let (forth, back) = (Pipe(), Pipe())
            let address = TransportAddress(.loopbackV4, port: port)
            guard
                let far = try? TCPStream.connect(loop: loop, to: address, readPool: loop.buffers, delegate: back)
            else { return }
            (forth.other, back.other) = (far, near)
            near.delegate = forth
            for stream in [near, far] { stream.startReading() }
            streams = [near, far]
        }
    }

    func shut() {
        for stream in streams {
            stream.stopReading()
            stream.delegate = Pipe()
        }
    }

    /// Hands on what it hears, as far as the other side takes it; without another side it hears and says nothing.
    private final class Pipe: TCPStreamDelegate {
        weak var other: TCPStream?

        func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
            other?.write(bytes)
            if other?.queuedBytes ?? 0 > 1 << 20 { stream.stopReading() }
        }
        func tcpStream(_ stream: TCPStream, wrote count: Int) {
            if stream.queuedBytes < 1 << 19 { other?.startReading() }
        }
        func tcpStreamReceivedEnd(_ stream: TCPStream) { other?.finishWriting() }
        func tcpStream(_ stream: TCPStream, failed error: UVError) { other?.reset() }
    }
}

/// Both ends of a tunnel over loopback, on one loop.
final class TunnelEnds {
    let runner: LoopRunner
    let relay: RelayEnd
    let valve: Valve
    private(set) var agent: TestAgent
    let acceptor = TestAcceptor()

    /// - Parameter change: what the agent is to know otherwise; it reaches the relay directly.
    init(change: (inout RelayConfiguration) -> Void = { _ in }) throws {
        runner = try LoopRunner()
        relay = try RelayEnd(runner.loop)
        let node = TestNode()
        var configuration = try relay.configuration(node)
        valve = try Valve(runner.loop, to: relay.server.port)
        change(&configuration)
        agent = TestAgent(runner.loop, node, configuration)
        agent.platform.acceptor = acceptor
    }

    var loop: EventLoop { runner.loop }

    /// Both sessions are active.
    static func active() throws -> TunnelEnds {
        let ends = try TunnelEnds()
        try ends.begin()
        return ends
    }

    /// The same through the valve, and with another interval after which silence is noticed.
    static func throughValve(livenessInterval: Duration) throws -> TunnelEnds {
        let ends = try TunnelEnds()
        ends.relay.livenessInterval = livenessInterval
        let address = HostAndPort(host: "127.0.0.1", port: ends.valve.server.port)
        ends.agent = TestAgent(
            ends.loop, ends.agent.node,
            try TestAgent.configuration(ends.agent.node, relay: ends.relay.node.id, at: [address]))
        ends.agent.platform.acceptor = ends.acceptor
        try ends.begin()
        return ends
    }

    private func begin() throws {
        try agent.start()
        try runner.run("a session") { agent.isActive }
    }

    /// How the agent's session ends.
    func termination() throws -> TerminationRecord {
        try runner.run("the end of the session") { agent.termination != nil }
        guard let record = agent.termination else { throw LabError("there is no record") }
        return record
    }

    func end() {
        agent.platform.shutdown(now: loop.now)
        relay.platform.shutdown(now: loop.now)
        runner.settle(turns: 3)
        runner.end()
        acceptor.clear()
        relay.clear()
    }
}
