// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
internal import Primitives

/// Whose port it is: the session over which its visitors reach the node, and the two transport IDs.
public struct PortOwner {
    public let instance: ProviderInstance
    /// This relay's transport ID, and the node's.
    public let local: TransportID
    public let remote: TransportID

    public init(instance: ProviderInstance, local: TransportID, remote: TransportID) {
        self.instance = instance
        self.local = local
        self.remote = remote
    }
}

/// The bounds of one exposed port.
public struct ExposedPortLimits: Sendable {
    /// TCP connections at once.
    public var visitors: Int
    /// A UDP flow ends after this long without a datagram either way.
    public var flowTimeout: Duration
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?

    public init(visitors: Int, flowTimeout: Duration, halfClosed: Duration? = nil) {
        self.visitors = visitors
        self.flowTimeout = flowTimeout
        self.halfClosed = halfClosed
    }
}

/// How many UDP flows a node may have, on all its ports together. Owned by the loop.
public final class FlowBudget {
    public let limit: Int
    public private(set) var used = 0

    public init(limit: Int) { self.limit = limit }

    /// Whether one more may begin; then it is counted until it is given back.
    func take() -> Bool {
        guard used < limit else { return false }
        used += 1
        return true
    }

    func giveBack() { used -= 1 }
}

/// What an exposed port has seen. Owned by the loop.
public struct ExposedPortCounters: Sendable {
    /// Connections or flows so far.
    public var accepted: UInt64 = 0
    /// Those turned away because a bound was reached.
    public var turnedAway: UInt64 = 0
    public init() {}
}

/// A public port of the relay whose visitors are carried to a node.
///
/// It belongs to a node, not to a session: a new session of the same node takes it over as it is, so that it is never
/// "in use" by a session that has died.
public protocol ExposedPort: AnyObject {
    var port: UInt16 { get }
    var counters: ExposedPortCounters { get }
    /// Connections or flows now.
    var visitors: Int { get }
    /// The session that its visitors use; nil while visitors are turned away.
    var owner: PortOwner? { get set }
    /// Takes no new visitors; those that are there go on.
    func stopAccepting()
    /// Closes the port. Visitors that are there go on until their endpoints end.
    func close()
}
