// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Who reaches a transport ID.
public enum Reachability {
    /// Exactly one peer of this instance's provider holds it (obligations 18, 28).
    case reachable(ProviderInstance)
    /// A provider is still to answer.
    case asking
    case unreachable
}

/// What an instance's provider said about a transport ID.
enum ReachVerdict {
    case asking
    case known(Bool, until: Instant)
}

extension Platform {
    /// Which active instance reaches the ID: the first in the order of preference whose provider says so. Verdicts are
    /// kept for a while; where a provider pends the question the answer is `.asking`, and it is to be asked again.
    ///
    /// - Parameters:
    ///   - local: a transport ID that the instance must have; nil for any.
    ///   - over: the only instance that counts; nil for all.
    public func reach(
        _ remote: TransportID, from local: TransportID? = nil, over: ProviderInstance? = nil, now: Instant
    ) -> Reachability {
        told(now)
        if let over { return ask(over, remote, from: local, now: now) }
        for instance in list {
            let answer = ask(instance, remote, from: local, now: now)
            if case .unreachable = answer { continue }
            return answer
        }
        return .unreachable
    }

    /// Opens an endpoint for an application.
    ///
    /// The provider may answer before this returns; the application is told what becomes of it either way, last with
    /// ``EndpointApplication/endpointEnded(_:_:)``, but not where this throws.
    ///
    /// - Parameters:
    ///   - local: this node's transport ID, which the instance must have.
    ///   - source: the visitor, where there is one.
    ///   - over: the instance to use; nil for the preferred one of those that reach `remote`.
    public func openEndpoint(
        kind: Endpoint.Kind, from local: TransportID, to remote: TransportID, destination: EndpointDestination,
        source: TransportAddress? = nil, over: ProviderInstance? = nil, application: any EndpointApplication,
        now: Instant
    ) throws(PlatformError) -> Endpoint {
        guard !isShutDown else { throw .stopped }
        let answer = reach(remote, from: local, over: over, now: now)
        if case .unreachable = answer { throw .unreachable(remote) }
        let endpoint = makeEndpoint(
            kind: kind, local: local, remote: remote, destination: destination, source: source, state: .reaching)
        switch answer {
        case .unreachable: throw .unreachable(remote)
        case .asking:
            guard waiting.count < configuration.limits.endpointsWaiting else {
                throw .limitReached("endpointsWaiting", configuration.limits.endpointsWaiting)
            }
            waiting.append(endpoint, over: over)
        case .reachable(let instance):
            let limit = configuration.limits.endpointsPerInstance
            guard instance.endpoints.count < limit else { throw .limitReached("endpointsPerInstance", limit) }
        }
        endpoint.application = application
        deadlines.add(endpoint, now: now)
        deadlineAdded()
        if case .reachable(let instance) = answer { instance.open(endpoint) }
        return endpoint
    }

    /// Asks again for the endpoints that wait, after an answer came or an instance came or went.
    func routeWaiting(now: Instant) {
        for (endpoint, over) in waiting.takeAll() {
            guard endpoint.state == .reaching else {
                deadlines.remove(endpoint)
                continue
            }
            switch reach(endpoint.remote, from: endpoint.local, over: over, now: now) {
            case .asking: waiting.append(endpoint, over: over)
            case .unreachable: fail(endpoint, .unreachable)
            case .reachable(let instance):
                let isFull = instance.endpoints.count >= configuration.limits.endpointsPerInstance
                if isFull { fail(endpoint, .limit) } else { instance.open(endpoint) }
            }
        }
    }

    /// Ends an endpoint that no provider has yet.
    func fail(_ endpoint: Endpoint, _ code: EndpointResetCode) {
        deadlines.remove(endpoint)
        endpoint.end(.reset(code), tellProvider: nil)
    }

    private func ask(
        _ instance: ProviderInstance, _ remote: TransportID, from local: TransportID?, now: Instant
    ) -> Reachability {
        guard instance.state == .active else { return .unreachable }
        if let local, !instance.transportIDs.contains(local) { return .unreachable }
        if instance.verdict(on: remote, now: now) == nil { instance.askReach(remote, now: now) }
        // The provider may have ended the session instead of answering.
        guard instance.state == .active else { return .unreachable }
        switch instance.verdict(on: remote, now: now) {
        case .asking: return .asking
        case .known(true, _): return .reachable(instance)
        case .known(false, _), nil: return .unreachable
        }
    }
}

extension ProviderInstance {
    /// What is known, unless it is too old.
    func verdict(on id: TransportID, now: Instant) -> ReachVerdict? {
        guard let verdict = reach[id] else { return nil }
        if case .known(_, let until) = verdict, until <= now { return nil }
        return verdict
    }

    func askReach(_ id: TransportID, now: Instant) {
        makeRoomForVerdict()
        reach[id] = .asking
        perform(.reachTransportID(id), now: now) { $0.reachTransportID(id, call: $1) }
    }

    func reached(_ id: TransportID, _ isReachable: Bool, now: Instant?) {
        guard let platform else { return }
        let now = now ?? platform.now
        let lifetime = isReachable ? platform.configuration.reachableFor : platform.configuration.unreachableFor
        reach[id] = .known(isReachable, until: now + lifetime)
        platform.routeWaiting(now: now)
    }

    func forgetVerdicts(on id: TransportID?) {
        reach = reach.filter { key, verdict in
            if case .asking = verdict { return true }
            return id != nil && key != id
        }
    }

    private func makeRoomForVerdict() {
        guard let platform, reach.count >= platform.configuration.limits.reachVerdictsPerInstance else { return }
        forgetVerdicts(on: nil)
    }
}

/// Endpoints whose way is not known yet.
struct WaitingEndpoints {
    private var entries: [(endpoint: Endpoint, over: ProviderInstance?)] = []

    var count: Int { entries.count }

    mutating func append(_ endpoint: Endpoint, over: ProviderInstance?) { entries.append((endpoint, over)) }

    mutating func remove(_ endpoint: Endpoint) { entries.removeAll { $0.endpoint === endpoint } }

    mutating func takeAll() -> [(endpoint: Endpoint, over: ProviderInstance?)] {
        defer { entries.removeAll() }
        return entries
    }
}
