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
                loop: loop, stream: stream, context: context, limits: TunnelLimits(),
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

    /// From here on nothing that comes is read, and nothing is answered.
    func fallSilent() {
        carrier?.tunnel.delegate = nil
        stream?.stopReading()
        stream?.delegate = Deaf()
        carrier = nil
        provider?.delegate = nil
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

/// Hears and says nothing.
private final class Deaf: TCPStreamDelegate {
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) {}
}

/// Both ends of a tunnel over loopback, on one loop.
final class TunnelEnds {
    let runner: LoopRunner
    let relay: RelayEnd
    let agent: TestAgent
    let acceptor = TestAcceptor()

    init(change: (inout RelayConfiguration) -> Void = { _ in }) throws {
        runner = try LoopRunner()
        relay = try RelayEnd(runner.loop)
        let node = TestNode()
        var configuration = try relay.configuration(node)
        change(&configuration)
        agent = TestAgent(runner.loop, node, configuration)
        agent.platform.acceptor = acceptor
    }

    var loop: EventLoop { runner.loop }

    /// Both sessions are active.
    static func active(_ prepare: (RelayEnd) -> Void = { _ in }) throws -> TunnelEnds {
        let ends = try TunnelEnds()
        prepare(ends.relay)
        try ends.agent.start()
        try ends.runner.run("a session") { ends.agent.isActive }
        return ends
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
