// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Everything of a platform that runs out of time: pended calls by their kind, and endpoints that are opening.
struct PlatformDeadlines {
    private var calls = [DeadlineList<DueCall>](repeating: DeadlineList(), count: Operation.Kind.allCases.count)
    private var openings = DeadlineList<Endpoint>()
    /// Calls that were pended on the hot path, where nobody tells the time: they get it the next time that it is told.
    private var untimed: [(call: DueCall, kind: Operation.Kind)] = []
    private let durations: PlatformConfiguration.Deadlines

    init(_ durations: PlatformConfiguration.Deadlines) { self.durations = durations }

    /// The first of all. Long past while a call waits to be told the time, so that it is told soon.
    var first: Instant? {
        if !untimed.isEmpty { return Instant(nanoseconds: 0) }
        var first = openings.first
        for list in calls {
            guard let candidate = list.first else { continue }
            first = first.map { min($0, candidate) } ?? candidate
        }
        return first
    }

    mutating func add(_ call: DueCall, _ kind: Operation.Kind, now: Instant?) -> DeadlineList<DueCall>.Handle {
        guard let now else {
            untimed.append((call, kind))
            return DeadlineList<DueCall>.none
        }
        return calls[kind.rawValue].insert(call, at: now + duration(of: kind))
    }

    mutating func remove(_ handle: DeadlineList<DueCall>.Handle, _ kind: Operation.Kind) {
        calls[kind.rawValue].remove(handle)
    }

    /// The calls that were pended without a time.
    mutating func takeUntimed() -> [(call: DueCall, kind: Operation.Kind)] {
        guard !untimed.isEmpty else { return [] }
        defer { untimed = [] }
        return untimed
    }

    mutating func popExpiredCall(_ now: Instant) -> DueCall? {
        for index in calls.indices {
            if let call = calls[index].popExpired(now) { return call }
        }
        return nil
    }

    mutating func add(_ endpoint: Endpoint, now: Instant) {
        endpoint.opening = openings.insert(endpoint, at: now + durations.openEndpoint)
    }

    mutating func remove(_ endpoint: Endpoint) {
        guard endpoint.opening != DeadlineList<Endpoint>.none else { return }
        openings.remove(endpoint.opening)
        endpoint.opening = DeadlineList<Endpoint>.none
    }

    mutating func popExpiredOpening(_ now: Instant) -> Endpoint? {
        let endpoint = openings.popExpired(now)
        endpoint?.opening = DeadlineList<Endpoint>.none
        return endpoint
    }

    func duration(of kind: Operation.Kind) -> Duration {
        switch kind {
        case .addTransportID: durations.addTransportID
        case .removeTransportID: durations.removeTransportID
        case .reachTransportID: durations.reachTransportID
        case .transitionActive: durations.transitionActive
        case .transitionInactive: durations.transitionInactive
        case .sendBuffers: durations.sendBuffers
        }
    }
}
