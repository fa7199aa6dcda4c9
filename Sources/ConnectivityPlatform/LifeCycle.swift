// SPDX-License-Identifier: Apache-2.0

/// Where a provider instance is in its life.
public enum InstanceState: UInt8, Sendable, CaseIterable {
    case created, registered, inSession, active, terminated, deregistered, destroyed
}

extension InstanceState: CustomStringConvertible {
    public var description: String {
        switch self {
        case .created: "created"
        case .registered: "registered"
        case .inSession: "in session"
        case .active: "active"
        case .terminated: "terminated"
        case .deregistered: "deregistered"
        case .destroyed: "destroyed"
        }
    }
}

/// The life of a provider instance, and the only place where it moves on.
///
///               register           establish            activate
///      CREATED ─────────▶ REGISTERED ──────▶ IN SESSION ───────▶ ACTIVE
///         │                   │                │  ▲ ◀────────────┘ │
///         │                   │                │    deactivate      │
///         │                   │      terminate ▼                    │ terminate
///         │ destroy           │           TERMINATED ◀──────────────┘
///         │                   │ deregister     │ deregister
///         ▼       destroy     ▼                │
///     DESTROYED ◀───── DEREGISTERED ◀──────────┘
///
/// - register, deregister, destroy: the provider. A failed registration leaves it CREATED (obligation 6). A provider
///   that deregisters IN SESSION or ACTIVE gets its terminate indication first, so that it passes through TERMINATED.
/// - establish, activate, deactivate, terminate: the platform. There is one session in a life; it begins once and
///   ends at most once (26), because nothing leads back to REGISTERED.
/// - Transport IDs come and go IN SESSION and ACTIVE; endpoints live in ACTIVE only (18).
struct LifeCycle {
    enum Event: CaseIterable {
        case register, establish, activate, deactivate, terminate, deregister, destroy
    }

    private(set) var state = InstanceState.created

    var hasSession: Bool { state == .inSession || state == .active }

    /// Moves on, or tells why not.
    mutating func apply(_ event: Event) throws(PlatformError) {
        guard let next = LifeCycle.state(after: event, in: state) else {
            throw state == .destroyed ? .destroyed : .invalidState(operation: "\(event)", state: state)
        }
        state = next
    }

    /// Throws what ``apply(_:)`` would throw, and changes nothing.
    func check(_ event: Event) throws(PlatformError) {
        var copy = self
        try copy.apply(event)
    }

    /// Throws unless there is a session.
    func checkSession(for operation: String) throws(PlatformError) {
        guard hasSession else { throw misuse(operation) }
    }

    /// Throws unless the session is active.
    func checkActive(for operation: String) throws(PlatformError) {
        guard state == .active else { throw misuse(operation) }
    }

    private func misuse(_ operation: String) -> PlatformError {
        state == .destroyed ? .destroyed : .invalidState(operation: operation, state: state)
    }

    private static func state(after event: Event, in state: InstanceState) -> InstanceState? {
        switch (state, event) {
        case (.created, .register): .registered
        case (.registered, .establish): .inSession
        case (.inSession, .activate): .active
        case (.active, .deactivate): .inSession
        case (.inSession, .terminate), (.active, .terminate): .terminated
        case (.registered, .deregister), (.terminated, .deregister): .deregistered
        case (.created, .destroy), (.deregistered, .destroy): .destroyed
        default: nil
        }
    }
}
