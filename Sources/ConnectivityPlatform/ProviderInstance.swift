// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What an instance has carried and refused so far.
public struct InstanceCounters: Hashable, Sendable {
    /// Payload bytes of endpoints and of packets.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// Endpoints that applications opened, that the acceptor took, and that it refused.
    public var endpointsOpened: UInt64 = 0
    public var endpointsAccepted: UInt64 = 0
    public var endpointsRefused: UInt64 = 0
    public var callsPended: UInt64 = 0
    /// Completions of calls that were not pended (any more): harmless, but a sign of a sick provider.
    public var lateCompletions: UInt64 = 0

    public init() {}

    mutating func add(_ endpoint: Endpoint) {
        bytesSent &+= endpoint.bytesSent
        bytesReceived &+= endpoint.bytesReceived
    }
}

/// A provider's handle: its registration with the platform, and the one session that it may have in its life.
///
/// Made by ``Platform/createInstance(provider:name:preference:)``; it lives on the platform's loop. Every misuse throws
/// a ``PlatformError`` and changes nothing (obligation 31). ``LifeCycle`` says what is allowed when.
public final class ProviderInstance {
    /// The provider's name: in the history, in logs, and the owner of its interfaces.
    public let name: String
    /// Lower is asked first when an endpoint is opened.
    public let preference: Int

    public internal(set) var friendlyName = ""
    public internal(set) var interfaceLUID: InterfaceLUID?
    /// Nil: the user that registered.
    public internal(set) var allowedUsers: [AllowedUser]?
    /// In the order in which they were added; given out by the platform (obligation 20).
    public internal(set) var transportIDs: [TransportID] = []
    /// All that live, in no order.
    public internal(set) var endpoints: [Endpoint] = []
    /// Calls that the provider has pended.
    public internal(set) var pendedCalls = 0
    public internal(set) var activeSince: Instant?
    public internal(set) var lastTermination: TerminationRecord?

    /// Nil once destroyed, so that nothing of the provider is kept (obligations 15, 16).
    var provider: (any Provider)?
    /// Counters without those of the endpoints that live.
    var totals = InstanceCounters()
    weak var platform: Platform?
    let calls: PendedCalls
    weak var supervisor: Supervisor?
    var lifeCycle = LifeCycle()
    /// Transport IDs that are still to be added before the session becomes active, the last one first.
    var setup: [TransportID]?
    var reach: [TransportID: ReachVerdict] = [:]
    /// Where it stands in its platform's list.
    var place = -1
    /// The end that the provider is still to be told of.
    var terminationToIndicate: SessionFault?

    init(provider: any Provider, name: String, preference: Int, platform: Platform) {
        self.provider = provider
        self.name = name
        self.preference = preference
        self.platform = platform
        calls = platform.calls
    }

    public var state: InstanceState { lifeCycle.state }

    // MARK: - The provider's calls

    /// Registers the instance, whose interface gets a friendly name. A failure leaves it as it was (obligation 6).
    ///
    /// - Parameters:
    ///   - friendlyName: nil for a default (2); one that is taken gets a number (3), a long one is cut.
    ///   - interfaceLUID: nil or zero for a new interface, or that of an earlier instance of the same name (5).
    ///   - flags: must be 0.
    ///   - allowedUsers: nil for the user that registers.
    public func register(
        friendlyName: String? = nil, interfaceLUID: InterfaceLUID? = nil, flags: UInt32 = 0,
        allowedUsers: [AllowedUser]? = nil, now: Instant
    ) throws(PlatformError) {
        try lifeCycle.check(.register)
        guard flags == 0 else { throw .invalidFlags(flags) }
        if let allowedUsers, allowedUsers.contains(where: { $0.name.isEmpty }) {
            throw .invalidArgument("the name of an allowed user or group is empty")
        }
        guard let platform, !platform.isShutDown else { throw .stopped }
        let taken = try platform.interfaces.take(interfaceLUID, friendlyName: friendlyName, owner: name)
        try lifeCycle.apply(.register)
        self.interfaceLUID = taken.luid
        self.friendlyName = taken.friendlyName
        self.allowedUsers = allowedUsers
        stateChanged()
    }

    /// Ends the registration; a session ends first, with `.providerRequest`. No call of the provider begins once this
    /// has returned (obligation 26). Allowed within the terminate indication (27).
    public func deregister(now: Instant) throws(PlatformError) {
        terminate(SessionFault(.providerRequest, "the provider deregistered its instance"), now: now)
        // Where an application deregisters while it is told of its endpoint's end, the provider is told before this.
        indicateTermination(now: now)
        try lifeCycle.apply(.deregister)
        if let interfaceLUID { platform?.interfaces.release(interfaceLUID) }
        stateChanged()
        supervisor?.instanceEnded(self, now: now)
    }

    /// Frees all that the platform holds for the instance (obligations 14, 15): the last call on it.
    public func destroy() throws(PlatformError) {
        try lifeCycle.apply(.destroy)
        provider = nil
        transportIDs = []
        reach = [:]
        platform?.forget(self)
        stateChanged()
    }

    /// Completes a pended call, exactly once (obligations 19, 24). A call that is not pended throws `.unknownCall`.
    public func complete(_ call: PendedCall, _ outcome: CallOutcome, now: Instant) throws(PlatformError) {
        guard state != .destroyed else { throw .destroyed }
        guard outcome != .pending else { throw .invalidArgument("a completion can't be pending") }
        if calls.completeEarly(call, outcome, of: self) { return }
        guard let pended = calls.remove(call.id, of: self) else {
            totals.lateCompletions += 1
            throw .unknownCall(call)
        }
        platform?.told(now)
        platform?.deadlines.remove(pended.deadline, pended.operation.kind)
        finish(pended.operation, outcome, now: now)
    }

    /// The provider's transport failed: the session ends for the fault's reason. Without a session nothing happens.
    public func fail(_ fault: SessionFault, now: Instant) {
        platform?.told(now)
        terminate(fault, now: now)
    }

    /// The far side opens an endpoint: the platform asks its acceptor.
    ///
    /// - Parameters:
    ///   - source: the visitor, where the far side knows it.
    ///   - providerContext: becomes ``Endpoint/providerContext``.
    /// - Returns: the endpoint, open: tell the far side, and give it room to send.
    /// - Throws: the code for the far side.
    public func indicateEndpoint(
        kind: Endpoint.Kind, local: TransportID, remote: TransportID, destination: EndpointDestination,
        source: TransportAddress?, providerContext: AnyObject?
    ) throws(EndpointResetCode) -> Endpoint {
        do throws(EndpointResetCode) {
            let endpoint = try accept(
                kind: kind, local: local, remote: remote, destination: destination, source: source,
                providerContext: providerContext)
            totals.endpointsAccepted += 1
            return endpoint
        } catch {
            totals.endpointsRefused += 1
            throw error
        }
    }

    /// Indicates one packet for an adapter, in the published shape (obligations 21, 22, 29, 30): `local` is the
    /// destination. The platform is done with it on return.
    public func indicateReceivedBuffers(
        to local: TransportID, from remote: TransportID, _ packet: RawSpan
    ) throws(PlatformError) {
        try lifeCycle.checkActive(for: "indicateReceivedBuffers")
        guard transportIDs.contains(local) else {
            throw .invalidArgument("\(local) is not associated with the instance")
        }
        guard let platform else { throw .stopped }
        totals.bytesReceived &+= UInt64(truncatingIfNeeded: packet.byteCount)
        platform.packetReceiver?.platform(platform, received: packet, over: self, from: remote, to: local)
    }

    /// Indicates a chain of packets. `completion` is called once, when the platform is done with them: before this
    /// returns. It is not called where this throws.
    public func indicateReceivedBuffers(
        to local: TransportID, from remote: TransportID, chain: borrowing Ring<Slice>,
        completion: (() -> Void)? = nil
    ) throws(PlatformError) {
        try lifeCycle.checkActive(for: "indicateReceivedBuffers")
        for offset in 0..<chain.count {
            var failure: PlatformError?
            chain.withElement(offset) { packet in
                do throws(PlatformError) {
                    try indicateReceivedBuffers(to: local, from: remote, packet.bytes)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        }
        completion?()
    }

    /// What the provider reaches has changed: it is asked again.
    /// - Parameter id: nil for all that it was asked for.
    public func reachabilityChanged(_ id: TransportID? = nil, now: Instant) {
        platform?.told(now)
        forgetVerdicts(on: id)
        platform?.routeWaiting(now: now)
    }

    // MARK: - Inside

    func stateChanged() {
        guard let platform else { return }
        platform.observer?.platform(platform, instance: self, changedTo: state)
    }
}
