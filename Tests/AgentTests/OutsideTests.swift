// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import Redirection
import Telemetry
import TestSupport
import Testing
import Tunneling

@testable import Agent

/// What goes out through the relay, and what the application is told of it.
@Suite struct OutsideTests {
    private static let fingerprint = TestNode().id.description

    private func names(_ folder: TemporaryFolder) throws -> NodeNames {
        NodeNames(
            loop: try EventLoop(), known: try KnownNodes(path: folder["known-nodes"]), suffix: "natfwt.internal",
            logger: MemoryLog().logger)
    }

    @Test(
        arguments: [
            ("home", true), ("HOME", true), ("home.", true), ("localhost", true), ("home.natfwt.internal", true),
            ("Home.Natfwt.Internal.", true), ("a.b.natfwt.internal", true), ("natfwt.internal", true),
            ("2001:20::1", true), (fingerprint, true), ("2130706433", true), ("", true),
            ("example.org", false), ("example.org.", false), ("home.internal", false), ("notnatfwt.internal", false),
            ("127.0.0.1", false), ("127.1", false), ("::1", false), ("2001:db8::1", false), ("::ffff:1.2.3.4", false),
            ("fe80::1%1", false),
        ] as [(String, Bool)])
    func whoIsMeant(text: String, isNode: Bool) throws {
        let folder = try TemporaryFolder()
        #expect(try names(folder).meansNode(text) == isNode)
    }

    /// What asks this node for another host gets nothing, not the service at the same port.
    @Test func nobodyGoesOutThroughThisNode() throws {
        let folder = try TemporaryFolder()
        let node = TestNode()
        let log = MemoryLog()
        var answers: [EndpointResetCode?] = []
        let pair = try WirePair { endpoint in
            let limits = ServiceLimits(connectTimeout: .seconds(1), flowTimeout: .seconds(1), flows: 10)
            guard let loop = try? EventLoop(), let names = try? names(folder),
                let client = try? node.context(.client), let server = try? node.context(.server)
            else { return .internalError }
            let services = ServiceDirectory(loop: loop, limits: limits, log: LogSampler(log.logger))
            services.set(
                ServiceDescription(target: HostAndPort(host: "127.0.0.1", port: 1)),
                for: ServiceDirectory.Port(kind: .stream, port: 443))
            let platform = Platform(random: SeededRandom(3))
            let configuration = PeerConfiguration(
                node: node.id, nodeName: "", clientContext: client, serverContext: server, limits: TunnelLimits(),
                handshakeTimeout: .seconds(1))
            let peers = PeerTable(
                loop: loop, platform: platform, configuration: configuration, names: names, logger: log.logger,
                sampler: LogSampler(log.logger))
            let acceptor = AgentAcceptor(
                services: services, served: ServedPorts(directory: services, log: LogSampler(log.logger)), peers: peers)
            answers.append(acceptor.platform(platform, accepts: endpoint))
            return .noError
        }
        defer { pair.end() }
        let application = TestApplication()
        _ = try pair.open(application)
        #expect(answers == [.notAllowed])
    }

    /// Two platforms on one loop, the far one with an acceptor that decides when the test says so.
    private final class Site {
        let pair: WirePair
        let application = TestApplication()
        var results: [Result<Endpoint, RouteFailure>] = []

        init(_ take: @escaping (Endpoint) -> EndpointResetCode?) throws { pair = try WirePair(take) }

        func open() throws -> Endpoint {
            let opening = OutsideOpening(application) { [unowned self] in
                results.append($0)
                if case .success(let endpoint) = $0 { application.adopt(endpoint) }
            }
            return try pair.open(opening)
        }
    }

    @Test func anOpenedEndpointIsTheApplications() throws {
        let far = TestApplication()
        let site = try Site { endpoint in
            endpoint.confirmsLater = true
            far.adopt(endpoint)
            return nil
        }
        defer { site.pair.end() }
        _ = try site.open()
        #expect(site.results.isEmpty && !site.application.isOpen)
        far.endpoint?.confirm()
        #expect(site.results.count == 1 && site.application.isOpen)
        far.endpoint?.send(site.pair.loop.slice("hello"))
        #expect(site.application.text == "hello")
        far.endpoint?.reset(.reset)
        #expect(site.application.end == .reset(.reset) && site.results.count == 1)
    }

    @Test(arguments: [
        (EndpointResetCode.notAllowed, "ask its operator for egress"), (.limit, "too much under way"),
        (.timedOut, "does not answer"), (.refused, "refuses"), (.unreachable, "can't reach the host"),
        (.internalError, "internal error"),
    ])
    func aRefusalIsToldInWords(code: EndpointResetCode, words: String) throws {
        let site = try Site { _ in code }
        defer { site.pair.end() }
        _ = try site.open()
        #expect(site.results.count == 1)
        guard case .failure(let failure) = site.results.first else { return #expect(Bool(false), "no failure") }
        #expect(failure.code == code)
        #expect(failure.message.contains(words))
        #expect(site.application.end == nil && !site.application.isOpen, "the application is not called")
    }
}

/// Two platforms whose providers hand everything over at once.
private final class WirePair: EndpointAcceptor {
    let loop: EventLoop
    private let near = Platform(random: SeededRandom(1))
    private let far = Platform(random: SeededRandom(2))
    private let nearEnd = WireEnd(local: 1, remote: 2)
    private let farEnd = WireEnd(local: 2, remote: 1)
    private let take: (Endpoint) -> EndpointResetCode?

    init(_ take: @escaping (Endpoint) -> EndpointResetCode?) throws {
        loop = try EventLoop()
        self.take = take
        (nearEnd.other, farEnd.other) = (farEnd, nearEnd)
        for (platform, end) in [(near, nearEnd), (far, farEnd)] {
            let instance = try platform.createInstance(provider: end, name: Agent.relayName)
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [end.local], now: loop.now)
        }
        far.acceptor = self
    }

    /// So that the two keep each other no longer.
    func end() {
        far.acceptor = nil
        for platform in [near, far] { platform.shutdown(now: loop.now) }
        for end in [nearEnd, farEnd] {
            try? end.instance?.deregister(now: loop.now)
            try? end.instance?.destroy()
        }
    }

    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? { take(endpoint) }

    func open(_ application: any EndpointApplication) throws -> Endpoint {
        try near.openEndpoint(
            kind: .stream, from: nearEnd.local, to: nearEnd.remote,
            destination: EndpointDestination(port: 443, host: "example.org"), over: nearEnd.instance,
            application: application, now: loop.now)
    }
}

/// One end: an endpoint's context is the other end's endpoint.
private final class WireEnd: Provider {
    let local: TransportID
    let remote: TransportID
    weak var other: WireEnd?
    private(set) weak var instance: ProviderInstance?

    init(local: UInt128, remote: UInt128) {
        self.local = TransportID(IPAddress(v6: 0x2001_0020 << 96 | local))
        self.remote = TransportID(IPAddress(v6: 0x2001_0020 << 96 | remote))
    }

    func establishSessionIndication(_ instance: ProviderInstance) { self.instance = instance }
    func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {}
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }

    func openEndpoint(_ endpoint: Endpoint) {
        guard let there = other?.instance else { return endpoint.indicateReset(.unreachable) }
        do throws(EndpointResetCode) {
            let twin = try there.indicateEndpoint(
                kind: endpoint.kind, local: remote, remote: local, destination: endpoint.destination, source: nil,
                providerContext: endpoint)
            endpoint.providerContext = twin
            twin.indicateSendRoom(1 << 20)
            if !twin.confirmsLater { endpoint.indicateOpened() }
        } catch {
            endpoint.indicateReset(error)
        }
    }

    func confirmEndpoint(_ endpoint: Endpoint) { twin(endpoint)?.indicateOpened() }
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        twin(endpoint)?.indicateReceived(bytes)
        return .completed
    }
    func finishSending(_ endpoint: Endpoint) { twin(endpoint)?.indicateReceivedEnd() }
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) { twin(endpoint)?.indicateReset(code) }
    func endpoint(_ endpoint: Endpoint, consumed count: Int) {}

    private func twin(_ endpoint: Endpoint) -> Endpoint? { endpoint.providerContext as? Endpoint }
}
