// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// The session, as the platform drives it.
///
/// Each call into the provider may end the session from within, so that what follows a call looks at the state first.
extension ProviderInstance {
    /// Establishes the session, adds the transport IDs one after another, and makes the session active.
    ///
    /// - Parameter transportIDs: those of this node. One that the provider refuses as a duplicate is replaced by one
    ///   that the platform generates.
    public func begin(transportIDs: [TransportID], now: Instant) throws(PlatformError) {
        guard let platform, !platform.isShutDown else { throw state == .destroyed ? .destroyed : .stopped }
        try lifeCycle.check(.establish)
        for id in transportIDs { try check(id) }
        let limit = platform.configuration.limits.transportIDsPerInstance
        guard transportIDs.count <= limit else { throw .limitReached("transportIDsPerInstance", limit) }
        try lifeCycle.apply(.establish)
        platform.told(now)
        setup = transportIDs.reversed()
        stateChanged()
        provider?.establishSessionIndication(self)
        continueSetup(now: now)
    }

    /// Adds one more transport ID to the session.
    public func addTransportID(_ id: TransportID, now: Instant) throws(PlatformError) {
        try lifeCycle.checkSession(for: "addTransportID")
        guard let platform else { throw .stopped }
        try check(id)
        let limit = platform.configuration.limits.transportIDsPerInstance
        guard transportIDs.count < limit else { throw .limitReached("transportIDsPerInstance", limit) }
        guard !transportIDs.contains(id) else {
            throw .invalidArgument("\(id) is associated with the instance already")
        }
        platform.told(now)
        add(id, tries: 0, now: now)
    }

    /// Takes a transport ID out of the session. Its endpoints end first.
    public func removeTransportID(_ id: TransportID, now: Instant) throws(PlatformError) {
        try lifeCycle.checkSession(for: "removeTransportID")
        guard let index = transportIDs.firstIndex(of: id) else {
            throw .invalidArgument("\(id) is not associated with the instance")
        }
        platform?.told(now)
        transportIDs.remove(at: index)
        resetEndpoints { $0.local == id }
        guard lifeCycle.hasSession else { return }
        perform(.removeTransportID(id), now: now) { $0.removeTransportID(id, call: $1) }
    }

    /// Makes the session inactive: its endpoints end, and none can be opened until ``activate(now:)``.
    public func deactivate(now: Instant) throws(PlatformError) {
        try lifeCycle.apply(.deactivate)
        platform?.told(now)
        activeSince = nil
        stateChanged()
        resetEndpoints { _ in true }
        guard state == .inSession else { return }
        perform(.transitionInactive, now: now) { $0.transitionInactive(call: $1) }
    }

    /// Makes a session active again that ``deactivate(now:)`` made inactive.
    public func activate(now: Instant) throws(PlatformError) {
        try lifeCycle.check(.activate)
        guard setup == nil else { throw .invalidState(operation: "activate", state: state) }
        platform?.told(now)
        transitionActive(now: now)
    }

    // MARK: - Setting up

    private func check(_ id: TransportID) throws(PlatformError) {
        guard !id.address.isUnspecified else { throw .invalidArgument("\(id) can't be a transport ID") }
    }

    private func continueSetup(now: Instant) {
        guard state == .inSession, setup != nil else { return }
        guard let id = setup?.popLast() else { return transitionActive(now: now) }
        if transportIDs.contains(id) { return continueSetup(now: now) }
        add(id, tries: 0, now: now)
    }

    private func add(_ id: TransportID, tries: Int, now: Instant?) {
        perform(.addTransportID(id, tries: tries), now: now) { $0.addTransportID(id, call: $1) }
    }

    private func transitionActive(now: Instant) {
        perform(.transitionActive, now: now) { $0.transitionActive(call: $1) }
    }

    // MARK: - Calls and their outcomes

    /// Calls the provider and deals with what it answers.
    func perform(_ operation: Operation, now: Instant?, _ call: (any Provider, PendedCall) -> CallOutcome) {
        guard let provider else { return }
        let pended = calls.begin(for: ObjectIdentifier(self))
        let answer = call(provider, pended)
        settle(operation, pended, calls.end(answer), now: now)
    }

    func settle(_ operation: Operation, _ call: PendedCall, _ outcome: CallOutcome, now: Instant?) {
        guard lifeCycle.hasSession else { return }
        guard outcome == .pending else { return finish(operation, outcome, now: now) }
        guard let platform, pendedCalls < platform.configuration.limits.pendedCallsPerInstance else {
            return terminate(SessionFault(.providerOtherFailure, "it pended too many calls"), now: now)
        }
        totals.callsPended += 1
        let due = DueCall(instance: self, id: call.id)
        let deadline = platform.deadlines.add(due, operation.kind, now: now)
        calls.pend(call, operation, of: self, deadline: deadline)
        platform.deadlineAdded()
    }

    /// The outcome of a call, whether it came at once or later.
    func finish(_ operation: Operation, _ outcome: CallOutcome, now: Instant?) {
        guard lifeCycle.hasSession else { return }
        if case .failed(let fault) = outcome { return terminate(fault, now: now) }
        switch (operation, outcome) {
        case (.addTransportID(let id, _), .completed): added(id, now: now)
        case (.addTransportID(let id, let tries), .refused): addAnother(for: id, tries: tries + 1, now: now)
        case (.reachTransportID(let id), _): reached(id, outcome == .completed, now: now)
        case (.transitionActive, .completed): becomeActive(now: now)
        case (_, .completed): break
        default: terminate(SessionFault(.providerOtherFailure, "it refused \(operation)"), now: now)
        }
    }

    private func added(_ id: TransportID, now: Instant?) {
        if !transportIDs.contains(id) { transportIDs.append(id) }
        if let platform { platform.observer?.platform(platform, instance: self, added: id) }
        if let platform { continueSetup(now: now ?? platform.now) }
    }

    /// A duplicate: the platform generates another and tries again (obligation 17).
    private func addAnother(for id: TransportID, tries: Int, now: Instant?) {
        guard let platform, tries <= platform.configuration.limits.transportIDTries else {
            let fault = SessionFault(.providerOtherFailure, "it refused every transport ID, the last one \(id)")
            return terminate(fault, now: now)
        }
        add(platform.generateTransportID(), tries: tries, now: now)
    }

    private func becomeActive(now: Instant?) {
        setup = nil
        do throws(PlatformError) { try lifeCycle.apply(.activate) } catch { return }
        activeSince = now ?? platform?.now
        stateChanged()
        if let now { platform?.routeWaiting(now: now) }
    }

    func callTimedOut(_ id: UInt64, now: Instant) {
        guard let pended = calls.remove(id, of: self), let platform else { return }
        let patience = platform.deadlines.duration(of: pended.operation.kind)
        let message = "it did not complete \(pended.operation) within \(patience.inSeconds) s"
        terminate(SessionFault(.providerTimeout, message), now: now)
    }

    // MARK: - The end

    /// Ends the session, once. Endpoints are told before the provider, so that none outlives what it stands on.
    func terminate(_ fault: SessionFault, now: Instant?) {
        guard lifeCycle.hasSession else { return }
        do throws(PlatformError) { try lifeCycle.apply(.terminate) } catch { return }
        // Only the platform shuts down (obligation 10).
        let blamesPlatform = fault.reason == .platformShutdown && platform?.isEnding(self) != true
        let fault = blamesPlatform ? SessionFault(.providerOtherFailure, fault.message) : fault
        setup = nil
        reach = [:]
        for endpoint in endpoints { endpoint.beginEnding() }
        for pended in calls.removeAll(of: self) { platform?.deadlines.remove(pended.deadline, pended.operation.kind) }
        record(fault, now: now)
        terminationToIndicate = fault
        stateChanged()
        indicateTermination(now: now)
    }

    /// Ends the endpoints that are left, then tells the provider, then who watches; each once.
    func indicateTermination(now: Instant?) {
        guard let reason = terminationToIndicate?.reason else { return }
        while let endpoint = endpoints.last { endpoint.end(.sessionTerminated(reason), tellProvider: nil) }
        guard let fault = terminationToIndicate else { return }
        terminationToIndicate = nil
        provider?.terminateSessionIndication(self, reason: fault.reason, message: fault.message)
        guard let platform else { return }
        if let lastTermination { platform.observer?.platform(platform, instance: self, terminated: lastTermination) }
        supervisor?.instanceEnded(self, now: now)
        platform.routeWaiting(now: now ?? platform.now)
    }

    private func record(_ fault: SessionFault, now: Instant?) {
        let at = now ?? platform?.now ?? Instant(nanoseconds: 0)
        let record = TerminationRecord(
            name: name, reason: fault.reason, message: fault.message, at: at, activeFor: activeSince.map { at - $0 },
            endpoints: endpoints.count, retryAfter: fault.retryAfter)
        activeSince = nil
        lastTermination = record
        platform?.history.append(record)
    }

    private func resetEndpoints(where matches: (Endpoint) -> Bool) {
        let ending = endpoints.filter(matches)
        for endpoint in ending { endpoint.beginEnding() }
        for endpoint in ending { endpoint.end(.reset(.sessionEnded), tellProvider: .sessionEnded) }
    }
}
