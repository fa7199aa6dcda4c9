// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// Routes to a site's agent by the destination's port, and fails or keeps silent by its host.
final class TestRouter: Router {
    var failures: [String: RouteFailure] = [:]
    /// For these hosts nothing is said before ``release()``.
    var silent: Set<String> = []
    private(set) var asked: [HostAndPort] = []
    private(set) var sources: [TransportAddress?] = []
    private var held: [() -> Void] = []
    private unowned let site: Site

    init(_ site: Site) { self.site = site }

    func open(
        _ kind: Endpoint.Kind, to destination: HostAndPort, source: TransportAddress?,
        application: any EndpointApplication, completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        asked.append(destination)
        sources.append(source)
        if let failure = failures[destination.host] { return completion(.failure(failure)) }
        let open = { [site] in
            do throws(PlatformError) {
                completion(
                    .success(
                        try site.relay.openEndpoint(
                            kind: kind, from: site.owner.local, to: site.owner.remote,
                            destination: EndpointDestination(port: destination.port), source: source,
                            over: site.owner.instance, application: application, now: site.loop.now)))
            } catch {
                completion(.failure(RouteFailure(.unreachable, "\(error)")))
            }
        }
        if silent.contains(destination.host) { held.append(open) } else { open() }
    }

    /// The routes that were held back never come.
    func forget() { held = [] }

    /// The routes that were held back are there.
    func release() {
        silent = []
        let now = held
        held = []
        for open in now { open() }
    }
}

extension Site {
    /// Endpoints to that port of the agent reach a service on the same port of this host.
    func serve(_ port: UInt16, _ kind: Endpoint.Kind = .stream) {
        directory.set(
            ServiceDescription(target: HostAndPort(host: "127.0.0.1", port: port)),
            for: ServiceDirectory.Port(kind: kind, port: port))
    }

    /// A TCP service that sends back what comes.
    func echo() throws -> UInt16 {
        let server = try TestServer(loop)
        server.onAccepted = { $0.echoes = true }
        serve(server.port)
        return server.port
    }
}
