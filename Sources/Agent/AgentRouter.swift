// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Providers
internal import Redirection

/// Brings this host's applications to other nodes (who is meant, the tunnel to it, and an endpoint in that), and out
/// through the relay to whatever is no node.
final class AgentRouter {
    private let loop: EventLoop
    private unowned let platform: Platform
    private let names: NodeNames
    private let peers: PeerTable

    init(loop: EventLoop, platform: Platform, names: NodeNames, peers: PeerTable) {
        self.loop = loop
        self.platform = platform
        self.names = names
        self.peers = peers
    }

    /// The session with a node, by whatever it is called, on a way that somebody may use.
    func session(
        with node: String, for applicant: Applicant,
        _ completion: @escaping (Result<PeerProvider, RouteFailure>) -> Void
    ) {
        names.find(node) { [peers] found in
            switch found {
            case .failure(let failure): completion(.failure(failure))
            case .success(let id): peers.session(with: id, for: applicant, completion)
            }
        }
    }

    /// A router for the sockets of one user, or for those of whom nothing is known.
    func on(behalfOf applicant: Applicant) -> any Router { ApplicantRouter(applicant, self) }

    fileprivate func open(
        _ kind: Endpoint.Kind, to destination: HostAndPort, source: TransportAddress?, for applicant: Applicant,
        application: any EndpointApplication, completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        guard names.meansNode(destination.host) else {
            return openOutside(kind, to: destination, source, application, completion)
        }
        session(with: destination.host, for: applicant) { [weak self] result in
            guard let self else { return }
            completion(
                result.flatMap { peer in self.open(kind, to: destination, source, application, over: peer) })
        }
    }

    private func open(
        _ kind: Endpoint.Kind, to destination: HostAndPort, _ source: TransportAddress?,
        _ application: any EndpointApplication, over peer: PeerProvider
    ) -> Result<Endpoint, RouteFailure> {
        do throws(PlatformError) {
            let endpoint = try platform.openEndpoint(
                kind: kind, from: peers.local, to: peer.remote,
                destination: EndpointDestination(port: destination.port), source: shown(source), over: peer.instance,
                application: application, now: loop.now)
            return .success(endpoint)
        } catch {
            return .failure(RouteFailure(EndpointResetCode(error), "\(destination): \(error)"))
        }
    }

    /// The application's own address is nobody's business but this host's; the port tells two of them apart.
    private func shown(_ source: TransportAddress?) -> TransportAddress {
        TransportAddress(peers.local.address, port: source?.port ?? 0)
    }

    /// Names are looked up by the relay: what they mean here may be something else, or nothing.
    private func openOutside(
        _ kind: Endpoint.Kind, to destination: HostAndPort, _ source: TransportAddress?,
        _ application: any EndpointApplication, _ completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        guard let relay = peers.relay, let instance = relay.instance, instance.state == .active else {
            return completion(.failure(.noRelay))
        }
        let address = IPAddress(destination.host)?.canonical
        guard address != nil || HostAndPort.isResolvable(destination.host) else {
            return completion(.failure(RouteFailure(.unreachable, "\(destination) is neither a name nor an address")))
        }
        let opening = OutsideOpening(application, completion)
        do throws(PlatformError) {
            _ = try platform.openEndpoint(
                kind: kind, from: peers.local, to: relay.remote,
                destination: EndpointDestination(
                    port: destination.port, host: address == nil ? destination.host : nil, address: address),
                source: shown(source), over: instance, application: opening, now: loop.now)
        } catch {
            opening.fail(EndpointResetCode(error), "\(error)")
        }
    }
}

/// Brings the sockets of one user where they want to go.
private final class ApplicantRouter: Router {
    private let applicant: Applicant
    private let router: AgentRouter

    init(_ applicant: Applicant, _ router: AgentRouter) {
        self.applicant = applicant
        self.router = router
    }

    func open(
        _ kind: Endpoint.Kind, to destination: HostAndPort, source: TransportAddress?,
        application: any EndpointApplication, completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        router.open(
            kind, to: destination, source: source, for: applicant, application: application, completion: completion)
    }
}

extension AgentRouter: NodeFinder {
    func find(nodeNamed name: String, _ completion: @escaping (Result<IPAddress, RouteFailure>) -> Void) {
        names.find(name) { completion($0.map(\.address)) }
    }

    func find(nameOf id: IPAddress, _ completion: @escaping (Result<String, RouteFailure>) -> Void) {
        names.name(of: TransportID(id), completion)
    }
}

extension AgentRouter: PacketRouter {
    func openPackets(
        to node: TransportID, application: any EndpointApplication,
        completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        // What a device's packets belong to nobody can tell.
        peers.session(with: node, for: .anybody) { [weak self] result in
            guard let self else { return }
            completion(
                result.flatMap { peer in
                    self.open(.packet, to: HostAndPort(host: "\(node)", port: 0), nil, application, over: peer)
                })
        }
    }

    func names(of node: TransportID) -> [String] { peers.names(of: node) }
}

/// Takes what comes to this node, by where it comes from: visitors of exposed ports and other nodes' tunnels from the
/// relay, other nodes' streams from those tunnels.
final class AgentAcceptor: EndpointAcceptor {
    private let services: ServiceDirectory
    private let served: ServedPorts
    private let peers: PeerTable
    private let adapter: NodeAdapter?

    init(services: ServiceDirectory, served: ServedPorts, peers: PeerTable, adapter: NodeAdapter? = nil) {
        self.services = services
        self.served = served
        self.peers = peers
        self.adapter = adapter
    }

    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        // Nobody goes out through this node.
        guard endpoint.destination.host == nil else { return .notAllowed }
        if endpoint.kind == .packet {
            guard let adapter = adapter?.adapter, peers.isForEverybody(endpoint.instance) else { return .refused }
            return adapter.accept(endpoint)
        }
        if endpoint.remote.address.isORCHID, endpoint.instance?.name != Agent.relayName {
            return served.accept(endpoint, from: peers.names(of: endpoint.remote))
        }
        let isTunnel = endpoint.kind == .stream && endpoint.destination.port == 0
        return isTunnel ? peers.accept(endpoint) : services.platform(platform, accepts: endpoint)
    }
}
