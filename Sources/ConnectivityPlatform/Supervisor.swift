// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Makes the providers that a supervisor keeps.
public protocol ProviderFactory: AnyObject {
    /// A provider for one more instance. A fault counts as a session that failed: it is tried again later.
    func makeProvider(for supervisor: Supervisor) throws(SessionFault) -> any Provider
}

/// Keeps an instance of one provider alive for ever: when its session ends it makes another, after a back-off.
///
///      IDLE ──start──▶ RUNNING ──the session ended──▶ WAITING ──time──▶ RUNNING
///        ▲─────────────────────── stop ───────────────────────┘
///
/// The platform drives it: ``Platform/nextDeadline`` and ``Platform/handleTimeout(now:)`` cover its supervisors. A
/// provider that has not deregistered and destroyed its instance by the next try is relieved of that duty.
public final class Supervisor {
    public struct Settings: Sendable {
        /// The provider's name, for its instances and for the history.
        public var name: String
        public var friendlyName: String?
        public var transportIDs: [TransportID]
        public var preference = 0
        public var backoff = Backoff()
        /// A session that was active for longer begins the back-off anew.
        public var stableAfter: Duration = .seconds(60)

        public init(name: String, transportIDs: [TransportID]) {
            self.name = name
            self.transportIDs = transportIDs
        }
    }

    private enum State: Equatable {
        case idle
        case running
        /// The session ended in a call that told no time.
        case ended
        case waiting(until: Instant)
    }

    public let settings: Settings
    /// The present one, or the last.
    public private(set) var instance: ProviderInstance?
    /// Why there is no session now, where an instance could not even be made.
    public private(set) var lastFault: SessionFault?
    /// Instances made or tried so far.
    public private(set) var tries = 0

    private weak var platform: Platform?
    private let factory: any ProviderFactory
    private var backoff: Backoff
    private var state = State.idle
    private var interfaceLUID: InterfaceLUID?

    /// - Parameter factory: kept as long as the supervisor.
    public init(platform: Platform, settings: Settings, factory: any ProviderFactory) {
        self.platform = platform
        self.settings = settings
        self.factory = factory
        backoff = settings.backoff
    }

    /// Makes the first instance. The platform keeps the supervisor until it is stopped.
    public func start(now: Instant) {
        guard state == .idle, let platform, !platform.isShutDown else { return }
        platform.add(self)
        makeInstance(now: now)
    }

    /// Ends the session with `.platformShutdown` and makes no other.
    public func stop(now: Instant) {
        guard state != .idle else { return }
        state = .idle
        platform?.remove(self)
        guard let instance else { return }
        platform?.drop(instance, message: "the provider is no longer wanted", now: now)
        clearAway(now: now)
    }

    /// When the next try is due; nil while there is nothing to wait for.
    public var nextDeadline: Instant? {
        switch state {
        case .idle, .running: nil
        case .ended: Instant(nanoseconds: 0)
        case .waiting(let until): until
        }
    }

    /// Makes another instance if its time has come.
    public func handleTimeout(now: Instant) {
        if state == .ended { wait(now: now) }
        guard case .waiting(let until) = state, until <= now else { return }
        makeInstance(now: now)
    }

    // MARK: - Inside

    /// The instance's session ended, or its registration without one. Told more than once.
    func instanceEnded(_ instance: ProviderInstance, now: Instant?) {
        guard instance === self.instance, state == .running else { return }
        if let lived = instance.lastTermination?.activeFor, lived > settings.stableAfter { backoff.reset() }
        if let now { wait(now: now) } else { state = .ended }
        platform?.deadlineAdded()
    }

    private func wait(now: Instant) {
        guard let platform else { return }
        let atLeast = instance?.lastTermination?.retryAfter ?? .zero
        state = .waiting(until: now + max(platform.backOff(&backoff), atLeast))
    }

    private func makeInstance(now: Instant) {
        clearAway(now: now)
        guard let platform, !platform.isShutDown else { return }
        state = .running
        tries += 1
        do {
            try begin(on: platform, now: now)
            lastFault = nil
        } catch {
            lastFault = error as? SessionFault ?? SessionFault(.providerOtherFailure, "\(error)")
            clearAway(now: now)
            // Unless the session began, and its end was told already.
            if state == .running { wait(now: now) }
        }
        platform.deadlineAdded()
    }

    private func begin(on platform: Platform, now: Instant) throws {
        let provider = try factory.makeProvider(for: self)
        let instance = try platform.createInstance(
            provider: provider, name: settings.name, preference: settings.preference)
        self.instance = instance
        instance.supervisor = self
        try instance.register(friendlyName: settings.friendlyName, interfaceLUID: interfaceLUID, now: now)
        interfaceLUID = instance.interfaceLUID
        try instance.begin(transportIDs: settings.transportIDs, now: now)
    }

    /// Deregisters and destroys what is left of the instance.
    private func clearAway(now: Instant) {
        guard let instance else { return }
        self.instance = nil
        instance.supervisor = nil
        // Either fails where the provider has done it already.
        try? instance.deregister(now: now)
        try? instance.destroy()
    }
}
