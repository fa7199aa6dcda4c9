// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// A relay's ports and an agent's services on one loop, with a wire instead of a tunnel between them.
final class Site {
    let runner: LoopRunner
    let log = MemoryLog()
    let relay = Platform(random: SeededRandom(1))
    let agent = Platform(random: SeededRandom(2))
    let directory: ServiceDirectory
    let owner: PortOwner
    private let wire: Wire
    private let relayEnd: WireProvider
    private let agentEnd: WireProvider

    init(
        window: Int = 64 << 10,
        services limits: ServiceLimits = ServiceLimits(
            connectTimeout: .seconds(30), flowTimeout: .seconds(60), flows: 100)
    ) throws {
        runner = try LoopRunner()
        wire = Wire(runner.loop, window: window)
        let here = TransportID(IPAddress(v6: 0x2001_0020 << 96 | 1))
        let there = TransportID(IPAddress(v6: 0x2001_0020 << 96 | 2))
        relayEnd = WireProvider(wire, local: here, remote: there)
        agentEnd = WireProvider(wire, local: there, remote: here)
        (relayEnd.peer, agentEnd.peer) = (agentEnd, relayEnd)
        directory = ServiceDirectory(loop: runner.loop, limits: limits, log: LogSampler(log.logger))
        agent.acceptor = directory
        for (platform, provider) in [(relay, relayEnd), (agent, agentEnd)] {
            let instance = try platform.createInstance(provider: provider, name: "wire")
            try instance.register(now: runner.loop.now)
            try instance.begin(transportIDs: [provider.local], now: runner.loop.now)
        }
        owner = PortOwner(instance: try #require(relayEnd.instance), local: here, remote: there)
    }

    var loop: EventLoop { runner.loop }

    /// A public TCP port whose visitors reach a service on a port of this host.
    func exposeTCP(
        to service: UInt16, visitors: Int = 100, proxyHeader: Bool = false, halfClosed: Duration? = nil
    ) throws -> ExposedTCPPort {
        let port = try ExposedTCPPort(
            loop: loop, platform: relay, addresses: [.loopbackV4], port: 0,
            limits: ExposedPortLimits(visitors: visitors, flowTimeout: .seconds(60), halfClosed: halfClosed),
            log: LogSampler(log.logger))
        port.owner = owner
        directory.set(
            ServiceDescription(
                target: HostAndPort(host: "127.0.0.1", port: service), sendsProxyHeader: proxyHeader),
            for: ServiceDirectory.Port(kind: .stream, port: port.port))
        return port
    }

    func exposeUDP(
        to service: HostAndPort, visitors: Int = 100, flows: FlowBudget? = nil, flowTimeout: Duration = .seconds(60)
    ) throws -> ExposedUDPPort {
        let port = try ExposedUDPPort(
            loop: loop, platform: relay, addresses: [.loopbackV4], port: 0,
            limits: ExposedPortLimits(visitors: 100, flowTimeout: flowTimeout),
            flows: flows ?? FlowBudget(limit: visitors), log: LogSampler(log.logger))
        port.owner = owner
        directory.set(
            ServiceDescription(target: service), for: ServiceDirectory.Port(kind: .datagram, port: port.port))
        return port
    }

    /// The session over which visitors reach the agent breaks.
    func breakSession() {
        let fault = SessionFault(.otherCommunicationError, "the wire is cut")
        relayEnd.instance?.fail(fault, now: loop.now)
        agentEnd.instance?.fail(fault, now: loop.now)
    }

    func end() {
        relay.shutdown(now: loop.now)
        agent.shutdown(now: loop.now)
        runner.settle(turns: 3)
        runner.end()
    }
}

/// Adds up what bridges tell their owner.
final class Owner: BridgeOwner {
    var ended = 0
    func bridgeEnded(_ bridge: AnyObject) { ended += 1 }
}
