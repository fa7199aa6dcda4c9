// SPDX-License-Identifier: Apache-2.0

public import Identity

/// A node that a relay knows. Times are seconds of Unix time.
public struct NodeRecord: Equatable, Sendable {
    public let id: NodeID
    /// No other node of the relay has it.
    public let name: NodeName
    public let permissions: Permissions
    /// When the node joined.
    public let created: Int64
    /// When it was there last; up to a minute old.
    public var lastSeen: Int64
}

/// An invite that was made, without the token: nobody can read that again.
public struct InviteRecord: Equatable, Sendable {
    /// Who used it, and when.
    public struct Use: Equatable, Sendable {
        public let node: NodeID
        public let at: Int64
    }

    /// The ten minutes after its end in which an invite is still taken: the relay's clock may be set right in between.
    public static let grace: Int64 = 600

    public let name: NodeName
    public let permissions: Permissions
    public let created: Int64
    /// The last second in which it can be used; nil where it never ends.
    public let expiresAt: Int64?
    public let use: Use?

    /// Whether its time is over. A clock that stands before the invite was made says nothing.
    public func isOver(now: Int64) -> Bool {
        guard let expiresAt, now >= created else { return false }
        return now > expiresAt
    }

    /// Whether it is taken no more.
    public func isExpired(now: Int64) -> Bool {
        guard let expiresAt, isOver(now: now) else { return false }
        return now > expiresAt.addingClamped(InviteRecord.grace)
    }
}

/// A port that is kept for a node.
public struct Reservation: Equatable, Sendable {
    public let node: NodeID
    public let `protocol`: PortProtocol
    public let port: UInt16
    /// What the node calls the service.
    public let label: String
    /// When it was asked for last; up to an hour old.
    public let lastUsed: Int64
}

extension Int64 {
    func addingClamped(_ other: Int64) -> Int64 {
        let sum = addingReportingOverflow(other)
        return sum.overflow ? (other < 0 ? .min : .max) : sum.partialValue
    }

    /// Whether `self` is at least `interval` later than `other`, or earlier by as much: a clock that was set back must
    /// not keep a time in the future for ever.
    func isFar(from other: Int64, by interval: Int64) -> Bool {
        let distance = subtractingReportingOverflow(other)
        return distance.overflow || distance.partialValue >= interval || distance.partialValue <= -interval
    }
}
