// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The endpoints of an instance.
extension ProviderInstance {
    /// What all have carried so far, those that live included.
    public var counters: InstanceCounters {
        endpoints.reduce(into: totals) { $0.add($1) }
    }

    func append(_ endpoint: Endpoint) {
        endpoint.attach(to: self, at: endpoints.count)
        endpoints.append(endpoint)
    }

    func remove(_ endpoint: Endpoint) {
        platform?.openingEnded(endpoint)
        let index = Int(endpoint.index)
        guard endpoints.indices.contains(index), endpoints[index] === endpoint else { return }
        endpoint.index = -1
        totals.add(endpoint)
        let last = endpoints.removeLast()
        guard last !== endpoint else { return }
        endpoints[index] = last
        last.index = Int32(truncatingIfNeeded: index)
    }

    /// An application's endpoint, now that it is known that this instance carries it.
    func open(_ endpoint: Endpoint) {
        append(endpoint)
        totals.endpointsOpened += 1
        endpoint.openingBegins()
        provider?.openEndpoint(endpoint)
        endpoint.tellFinishedSending()
    }

    func accept(
        kind: Endpoint.Kind, local: TransportID, remote: TransportID, destination: EndpointDestination,
        source: TransportAddress?, providerContext: AnyObject?
    ) throws(EndpointResetCode) -> Endpoint {
        guard state == .active, let platform, !platform.isShutDown else { throw .sessionEnded }
        guard transportIDs.contains(local) else { throw .unreachable }
        guard endpoints.count < platform.configuration.limits.endpointsPerInstance else { throw .limit }
        guard let acceptor = platform.acceptor else { throw .refused }
        let endpoint = platform.makeEndpoint(
            kind: kind, local: local, remote: remote, destination: destination, source: source, state: .accepting)
        endpoint.providerContext = providerContext
        append(endpoint)
        let refusal = acceptor.platform(platform, accepts: endpoint)
        // The acceptor may have broken it off, or the session, after it took it.
        guard endpoint.state == .accepting else { throw refusal ?? (state == .active ? .reset : .sessionEnded) }
        if let refusal = refusal ?? (endpoint.application == nil ? .refused : nil) {
            endpoint.application = nil
            endpoint.end(.reset(refusal), tellProvider: nil)
            throw refusal
        }
        endpoint.opened()
        return endpoint
    }
}
