// SPDX-License-Identifier: Apache-2.0

/// Why a tunnel ends or refuses, as GOAWAY says it on the wire. An open set: a later version may send others.
public struct GoAwayCode: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The node is stopping, or was told to: nothing is wrong.
    public static let shutdown = GoAwayCode(rawValue: 0)
    /// The peer broke the protocol.
    public static let protocolViolation = GoAwayCode(rawValue: 1)
    /// The peer speaks no version that this node speaks.
    public static let versionUnsupported = GoAwayCode(rawValue: 2)
    /// The node's key is not known here, and it showed no invite.
    public static let unknownNode = GoAwayCode(rawValue: 3)
    /// The invite was used by another node.
    public static let inviteUsed = GoAwayCode(rawValue: 4)
    /// The invite is too old.
    public static let inviteExpired = GoAwayCode(rawValue: 5)
    /// This relay made no such invite.
    public static let inviteUnknown = GoAwayCode(rawValue: 6)
    /// The operator removed the node.
    public static let revoked = GoAwayCode(rawValue: 7)
    /// Another session of the same node has taken over.
    public static let replaced = GoAwayCode(rawValue: 8)
    /// A bound of this node is reached; the text names it.
    public static let limit = GoAwayCode(rawValue: 9)
    /// Something failed that is not the peer's doing.
    public static let internalError = GoAwayCode(rawValue: 10)
    /// The node does not want a tunnel with this one.
    public static let notAllowed = GoAwayCode(rawValue: 11)
}

extension GoAwayCode: CustomStringConvertible {
    public var description: String {
        switch self {
        case .shutdown: "shutdown"
        case .protocolViolation: "protocol violation"
        case .versionUnsupported: "version unsupported"
        case .unknownNode: "unknown node"
        case .inviteUsed: "invite used"
        case .notAllowed: "not allowed"
        case .inviteExpired: "invite expired"
        case .inviteUnknown: "invite unknown"
        case .revoked: "revoked"
        case .replaced: "replaced"
        case .limit: "limit reached"
        case .internalError: "internal error"
        default: "code \(rawValue)"
        }
    }
}

/// Why a stream ends before its time, as RESET says it on the wire. An open set.
public struct StreamResetCode: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Nothing is known to be wrong; the other side is simply no longer there.
    public static let noError = StreamResetCode(rawValue: 0)
    /// The target refused the connection.
    public static let refused = StreamResetCode(rawValue: 1)
    /// The target can't be reached.
    public static let unreachable = StreamResetCode(rawValue: 2)
    /// The target did not answer in time.
    public static let timedOut = StreamResetCode(rawValue: 3)
    /// The application's connection was reset.
    public static let reset = StreamResetCode(rawValue: 4)
    /// A bound is reached.
    public static let limit = StreamResetCode(rawValue: 5)
    /// Not allowed, or not exposed.
    public static let notAllowed = StreamResetCode(rawValue: 6)
    /// The sender broke the stream's rules.
    public static let protocolViolation = StreamResetCode(rawValue: 7)
    /// The tunnel or the session ended.
    public static let sessionEnded = StreamResetCode(rawValue: 8)
    /// Something failed that is nobody's doing.
    public static let internalError = StreamResetCode(rawValue: 9)
    /// The sender went past the offset that it was given.
    public static let flowControl = StreamResetCode(rawValue: 10)
}

/// What ends a tunnel, and whose doing it is.
public struct TunnelError: Error, Equatable, Sendable {
    public var code: GoAwayCode
    /// What happened, for a person.
    public var message: String

    public init(code: GoAwayCode, message: String) {
        self.code = code
        self.message = message
    }

    /// The peer sent something that the protocol does not allow.
    static func protocolViolation(_ message: String) -> TunnelError {
        TunnelError(code: .protocolViolation, message: message)
    }
}
