// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// What the platform asked of a provider with a call that may pend.
enum Operation {
    case addTransportID(TransportID, tries: Int)
    case removeTransportID(TransportID)
    case reachTransportID(TransportID)
    case transitionActive
    case transitionInactive
    case sendBuffers(EndpointLUID)

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
        case .sendBuffers(let endpoint): "\(kind) for endpoint \(endpoint)"
        case .transitionActive, .transitionInactive: "\(kind)"
        }
    }
}

/// The calls of all instances that their providers have not completed yet.
///
/// A call may be completed from within itself, before it returns `.pending`; the outcome is then kept until it does.
/// Calls nest, because a provider may indicate bytes from within a call and the application answer them at once.
final class PendedCalls {
    struct Pended {
        let operation: Operation
        fileprivate let instance: ObjectIdentifier
        var deadline: DeadlineList<DueCall>.Handle
    }

    /// A call that has not returned.
    private struct UnderWay {
        var id: UInt64
        var instance: ObjectIdentifier?
        var early: CallOutcome?
    }

    private var pended: [UInt64: Pended] = [:]
    private var lastID: UInt64 = 0
    /// The innermost call that has not returned, and those around it.
    private var innermost = UnderWay(id: 0)
    private var outer: [UnderWay] = []

    /// Before the provider is called.
    @inline(__always)
    func begin(for instance: ObjectIdentifier?) -> PendedCall {
        if innermost.id != 0 { pushOuter() }
        lastID &+= 1
        innermost.id = lastID
        innermost.instance = instance
        return PendedCall(id: lastID)
    }

    /// After the provider returned: the outcome that counts.
    @inline(__always)
    func end(_ outcome: CallOutcome) -> CallOutcome {
        innermost.id = 0
        if innermost.early == nil, outer.isEmpty { return outcome }
        return endSlowly(outcome)
    }

    private func pushOuter() {
        outer.append(innermost)
        innermost.early = nil
    }

    private func endSlowly(_ outcome: CallOutcome) -> CallOutcome {
        let early = innermost.early
        innermost = outer.popLast() ?? UnderWay(id: 0)
        // A call that was completed at once ignores the completion routine (obligation 19).
        return outcome == .pending ? early ?? .pending : outcome
    }

    func pend(
        _ call: PendedCall, _ operation: Operation, of instance: ProviderInstance,
        deadline: DeadlineList<DueCall>.Handle
    ) {
        pended[call.id] = Pended(operation: operation, instance: ObjectIdentifier(instance), deadline: deadline)
        instance.pendedCalls += 1
    }

    func setDeadline(_ deadline: DeadlineList<DueCall>.Handle, of id: UInt64) { pended[id]?.deadline = deadline }

    func contains(_ id: UInt64) -> Bool { pended[id] != nil }

    /// Takes the call out, for its completion or its deadline.
    func remove(_ id: UInt64, of instance: ProviderInstance) -> Pended? {
        guard let call = pended[id], call.instance == ObjectIdentifier(instance) else { return nil }
        instance.pendedCalls -= 1
        return pended.removeValue(forKey: id)
    }

    /// Takes all of an instance out: its session is over.
    func removeAll(of instance: ProviderInstance) -> [Pended] {
        guard instance.pendedCalls > 0 else { return [] }
        let ids = pended.filter { $0.value.instance == ObjectIdentifier(instance) }.keys
        return ids.compactMap { remove($0, of: instance) }
    }

    /// Whether the outcome was taken for a call that has not returned yet.
    func completeEarly(_ call: PendedCall, _ outcome: CallOutcome, of instance: ProviderInstance) -> Bool {
        let instance = ObjectIdentifier(instance)
        if innermost.id == call.id, call.id != 0, innermost.instance == instance, innermost.early == nil {
            innermost.early = outcome
            return true
        }
        let matching = outer.firstIndex { $0.id == call.id && $0.instance == instance && $0.early == nil }
        guard let matching else { return false }
        outer[matching].early = outcome
        return true
    }
}

/// A pended call as the platform's deadlines know it.
struct DueCall {
    let instance: ProviderInstance
    let id: UInt64
}
