// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Why a session ended: the five published reasons (obligations 8 to 13), with their published values.
public enum SessionTerminationReason: UInt32, Sendable, CaseIterable {
    /// The provider deregistered its instance, or asked for the end.
    case providerRequest
    /// The platform stops, or its configuration no longer names the provider.
    case platformShutdown
    /// A pended call was not completed in time, a handshake took too long, or a peer was not heard of any more.
    case providerTimeout
    /// A call returned an error, the provider broke the API, or its peer refused it or broke the protocol.
    case providerOtherFailure
    /// The transport failed: refused, reset, unreachable, a TLS alert, a broken pipe.
    case otherCommunicationError
}

extension SessionTerminationReason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .providerRequest: "provider request"
        case .platformShutdown: "platform shutdown"
        case .providerTimeout: "provider timeout"
        case .providerOtherFailure: "provider failure"
        case .otherCommunicationError: "communication error"
        }
    }

    /// What a person can do about it.
    public var advice: String {
        switch self {
        case .providerRequest:
            "Nothing is wrong: the provider asked for the end, because its other side is stopping or it was told to; it is "
                + "started again if it is still configured."
        case .platformShutdown:
            "Nothing is wrong: the program was stopped, or its configuration no longer names this provider."
        case .providerTimeout:
            "The other side's host answers, but the program there does not: check that it runs and is not overloaded."
        case .providerOtherFailure:
            "Read the message: the other side refused this node, or the two sides do not understand each other; "
                + "check keys, invites and versions."
        case .otherCommunicationError:
            "Check the network and the other side's address; it is tried again without your doing."
        }
    }
}

/// Something that ends a session. The blame is decided where the fault is found and carried with it.
public struct SessionFault: Error, Hashable, Sendable {
    public var reason: SessionTerminationReason
    /// What happened, in words that stand after the provider's name.
    public var message: String
    /// How long a new try is pointless at the least, where the other side's answer says so.
    public var retryAfter: Duration?

    public init(_ reason: SessionTerminationReason, _ message: String, retryAfter: Duration? = nil) {
        self.reason = reason
        self.message = message
        self.retryAfter = retryAfter
    }

    public init(reason: SessionTerminationReason, message: String) { self.init(reason, message) }
}

extension SessionFault: CustomStringConvertible {
    public var description: String { "\(reason): \(message)" }
}

/// How one session ended, for status and logs.
public struct TerminationRecord: Hashable, Sendable {
    /// The instance's ``ProviderInstance/name``.
    public let name: String
    public let reason: SessionTerminationReason
    public let message: String
    /// When it ended; where the end came from a call without a time, the last time that the platform was told.
    public let at: Instant
    /// How long the session was active; nil where it never became so.
    public let activeFor: Duration?
    /// Endpoints that ended with it.
    public let endpoints: Int
    /// As in the fault that ended it.
    public let retryAfter: Duration?
}
