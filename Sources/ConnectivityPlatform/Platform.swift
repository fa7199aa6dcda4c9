// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Is told what happens on a platform. Every call comes on its loop, and none of them may be slow.
public protocol PlatformObserver: AnyObject {
    func platform(_ platform: Platform, instance: ProviderInstance, changedTo state: InstanceState)
    func platform(_ platform: Platform, instance: ProviderInstance, added id: TransportID)
    /// After the provider was told.
    func platform(_ platform: Platform, instance: ProviderInstance, terminated record: TerminationRecord)
    /// ``Platform/nextDeadline`` has become earlier: arm a timer for it.
    func platformDeadlineMoved(_ platform: Platform)
}

extension PlatformObserver {
    public func platform(_ platform: Platform, instance: ProviderInstance, changedTo state: InstanceState) {}
    public func platform(_ platform: Platform, instance: ProviderInstance, added id: TransportID) {}
    public func platform(_ platform: Platform, instance: ProviderInstance, terminated record: TerminationRecord) {}
    public func platformDeadlineMoved(_ platform: Platform) {}
}

/// Hosts provider instances, and brings applications' endpoints and providers together.
///
/// It does no I/O and has no clock: calls bring the time along, and its owner calls ``handleTimeout(now:)`` once
/// ``nextDeadline`` has come. Confined to one loop, with everything that it makes. It owns its instances until they are
/// destroyed; call ``shutdown(now:)`` before letting go of it.
public final class Platform {
    public let configuration: PlatformConfiguration
    /// Takes the endpoints that providers bring in; without one they are refused. Kept.
    public var acceptor: (any EndpointAcceptor)?
    /// Takes the packets that providers indicate for adapters. Kept.
    public var packetReceiver: (any PacketReceiver)?
    /// Not kept.
    public weak var observer: (any PlatformObserver)?

    /// Those that are not destroyed, the preferred ones first.
    public var instances: [ProviderInstance] { Array(list) }
    private(set) var list = InstanceList()
    public private(set) var isShutDown = false
    /// The time that was told last.
    public private(set) var now = Instant(nanoseconds: 0)

    let calls = PendedCalls()
    var interfaces: Interfaces
    var deadlines: PlatformDeadlines
    var history: TerminationHistory
    var waiting = WaitingEndpoints()
    private(set) var random: AnyRandom
    private var supervisors: [Supervisor] = []
    private var lastLUID: UInt64 = 0
    private var announcedDeadline = Instant.distantFuture
    /// The instance whose session the platform itself ends now.
    private var ending: ProviderInstance?

    /// - Parameter random: for transport IDs and for the jitter of supervisors.
    public init(
        configuration: PlatformConfiguration = PlatformConfiguration(), random: any RandomNumberGenerator
    ) {
        self.configuration = configuration
        self.random = AnyRandom(random)
        interfaces = Interfaces(limit: configuration.limits.interfaces)
        deadlines = PlatformDeadlines(configuration.deadlines)
        history = TerminationHistory(limits: configuration.limits)
    }

    // MARK: - Instances

    /// A new instance for a provider, not registered yet.
    ///
    /// - Parameters:
    ///   - provider: kept until the instance is destroyed.
    ///   - name: the provider's: the same for every instance that takes another's place.
    ///   - preference: lower is asked first; among equals the older.
    public func createInstance(
        provider: any Provider, name: String, preference: Int = 0
    ) throws(PlatformError) -> ProviderInstance {
        guard !isShutDown else { throw .stopped }
        let limit = configuration.limits.instances
        guard list.count < limit else { throw .limitReached("instances", limit) }
        let instance = ProviderInstance(provider: provider, name: name, preference: preference, platform: self)
        list.insert(instance)
        return instance
    }

    /// Ends every session with `.platformShutdown`, each exactly once. Providers deregister and destroy their
    /// instances themselves (obligation 14). Nothing new begins from here on.
    public func shutdown(now: Instant) {
        told(now)
        guard !isShutDown else { return }
        isShutDown = true
        for supervisor in supervisors { supervisor.stop(now: now) }
        for instance in instances { end(instance, message: "the platform is shut down", now: now) }
        for entry in waiting.takeAll() { fail(entry.endpoint, .sessionEnded) }
    }

    /// Ends the session of an instance that the configuration no longer names, with `.platformShutdown`.
    public func drop(_ instance: ProviderInstance, message: String, now: Instant) {
        told(now)
        end(instance, message: message, now: now)
    }

    /// How the last sessions of that name ended, oldest first.
    public func terminations(of name: String) -> [TerminationRecord] { history.records(of: name) }

    /// How the last sessions of any name ended, the latest first; 16 of them at most.
    public var recentTerminations: [TerminationRecord] { history.latest(16) }

    // MARK: - Time

    /// When ``handleTimeout(now:)`` is to be called; nil for never. It changes with every call on the platform, its
    /// instances and endpoints; ``PlatformObserver/platformDeadlineMoved(_:)`` tells when it becomes earlier.
    public var nextDeadline: Instant? {
        var first = deadlines.first
        for supervisor in supervisors {
            guard let candidate = supervisor.nextDeadline else { continue }
            first = first.map { min($0, candidate) } ?? candidate
        }
        return first
    }

    /// Ends what has run out of time, and lets supervisors try again. Early or needless calls do no harm.
    public func handleTimeout(now: Instant) {
        told(now)
        while let due = deadlines.popExpiredCall(now) { due.instance.callTimedOut(due.id, now: now) }
        while let endpoint = deadlines.popExpiredOpening(now) {
            waiting.remove(endpoint)
            endpoint.end(.reset(.timedOut), tellProvider: .timedOut)
        }
        for supervisor in supervisors { supervisor.handleTimeout(now: now) }
        announcedDeadline = nextDeadline ?? .distantFuture
    }

    // MARK: - Inside

    /// The time, for those that had to begin without it.
    func told(_ now: Instant) {
        self.now = max(self.now, now)
        for (call, kind) in deadlines.takeUntimed() where calls.contains(call.id) {
            calls.setDeadline(deadlines.add(call, kind, now: now), of: call.id)
        }
    }

    func deadlineAdded() {
        guard let next = nextDeadline, next < announcedDeadline else { return }
        announcedDeadline = next
        observer?.platformDeadlineMoved(self)
    }

    func openingEnded(_ endpoint: Endpoint) { deadlines.remove(endpoint) }

    func makeEndpoint(
        kind: Endpoint.Kind, local: TransportID, remote: TransportID, destination: EndpointDestination,
        source: TransportAddress?, state: Endpoint.State
    ) -> Endpoint {
        lastLUID &+= 1
        return Endpoint(
            luid: EndpointLUID(rawValue: lastLUID), kind: kind, local: local, remote: remote, destination: destination,
            source: source, state: state, calls: calls)
    }

    func generateTransportID() -> TransportID { configuration.transportIDPrefix.next(using: &random) }

    func backOff(_ backoff: inout Backoff) -> Duration { backoff.next(using: &random) }

    func forget(_ instance: ProviderInstance) { list.remove(instance) }

    func isEnding(_ instance: ProviderInstance) -> Bool { ending === instance }

    func add(_ supervisor: Supervisor) {
        if !supervisors.contains(where: { $0 === supervisor }) { supervisors.append(supervisor) }
    }

    func remove(_ supervisor: Supervisor) { supervisors.removeAll { $0 === supervisor } }

    private func end(_ instance: ProviderInstance, message: String, now: Instant) {
        let outer = ending
        ending = instance
        instance.terminate(SessionFault(.platformShutdown, message), now: now)
        ending = outer
    }
}

/// A generator of the caller's choice, behind one type.
struct AnyRandom: RandomNumberGenerator {
    private var generator: any RandomNumberGenerator
    init(_ generator: any RandomNumberGenerator) { self.generator = generator }
    mutating func next() -> UInt64 { generator.next() }
}
