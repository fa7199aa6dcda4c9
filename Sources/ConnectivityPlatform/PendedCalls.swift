// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What the platform asked of a provider with a call that may pend.
enum Operation {
    case addTransportID(TransportID, tries: Int)
    case removeTransportID(TransportID)
    case reachTransportID(TransportID)
    case transitionActive
    case transitionInactive
    case sendBuffers(Endpoint)

    enum Kind: Int, CaseIterable {
        case addTransportID, removeTransportID, reachTransportID, transitionActive, transitionInactive, sendBuffers
    }

    var kind: Kind {
        switch self {
        case .addTransportID: .addTransportID
        case .removeTransportID: .removeTransportID
        case .reachTransportID: .reachTransportID
        case .transitionActive: .transitionActive
        case .transitionInactive: .transitionInactive
        case .sendBuffers: .sendBuffers
        }
    }
}

extension Operation: CustomStringConvertible {
    var description: String {
        switch self {
        case .addTransportID(let id, _), .removeTransportID(let id), .reachTransportID(let id): "\(kind) \(id)"
        case .sendBuffers(let endpoint): "\(kind) for endpoint \(endpoint.luid)"
        case .transitionActive, .transitionInactive: "\(kind)"
        }
    }
}

/// The calls of one instance that the provider has not completed yet.
///
/// A call may be completed from within itself, before it returns `.pending`; the outcome is then kept until it does.
/// Calls nest, because a provider may indicate bytes from within a call and the application answer them at once.
struct PendedCalls {
    struct Pended {
        let operation: Operation
        var deadline: DeadlineList<DueCall>.Handle
    }

    private var pended: [UInt64: Pended] = [:]
    private var lastID: UInt64 = 0
    /// The innermost call that has not returned; 0 for none. What stands around it is in `outer`.
    private var underWay: UInt64 = 0
    private var early: CallOutcome?
    private var outer: [(call: UInt64, early: CallOutcome?)] = []

    var count: Int { pended.count }

    /// Before the provider is called.
    @inline(__always)
    mutating func begin() -> PendedCall {
        if underWay != 0 { pushOuter() }
        lastID &+= 1
        underWay = lastID
        return PendedCall(id: lastID)
    }

    /// After the provider returned: the outcome that counts.
    @inline(__always)
    mutating func end(_ outcome: CallOutcome) -> CallOutcome {
        underWay = 0
        if early == nil, outer.isEmpty { return outcome }
        return endSlowly(outcome)
    }

    private mutating func pushOuter() {
        outer.append((underWay, early))
        early = nil
    }

    private mutating func endSlowly(_ outcome: CallOutcome) -> CallOutcome {
        let early = self.early
        self.early = nil
        if let last = outer.popLast() { (underWay, self.early) = last }
        // A call that was completed at once ignores the completion routine (obligation 19).
        return outcome == .pending ? early ?? .pending : outcome
    }

    mutating func pend(_ call: PendedCall, _ operation: Operation, deadline: DeadlineList<DueCall>.Handle) {
        pended[call.id] = Pended(operation: operation, deadline: deadline)
    }

    mutating func setDeadline(_ deadline: DeadlineList<DueCall>.Handle, of id: UInt64) {
        pended[id]?.deadline = deadline
    }

    func contains(_ id: UInt64) -> Bool { pended[id] != nil }

    /// Takes the call out, for its completion or its deadline.
    mutating func remove(_ id: UInt64) -> Pended? { pended.removeValue(forKey: id) }

    /// Takes all out: the session is over.
    mutating func removeAll() -> [Pended] {
        defer { pended.removeAll() }
        return Array(pended.values)
    }

    /// Whether the outcome was taken for a call that has not returned yet.
    mutating func completeEarly(_ call: PendedCall, _ outcome: CallOutcome) -> Bool {
        if call.id == underWay, underWay != 0, early == nil {
            early = outcome
            return true
        }
        guard let index = outer.firstIndex(where: { $0.call == call.id && $0.early == nil }) else { return false }
        outer[index].early = outcome
        return true
    }
}

/// A pended call as the platform's deadlines know it.
struct DueCall {
    let instance: ProviderInstance
    let id: UInt64
}
