// SPDX-License-Identifier: Apache-2.0

/// Why an endpoint was broken off. An open set: a code that this version does not know is kept and passed on.
public struct EndpointResetCode: RawRepresentable, Hashable, Sendable, Error {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Nobody wants it any more; nothing went wrong.
    public static let noError = EndpointResetCode(rawValue: 0)
    /// Nobody takes endpoints there: the service refused, or nothing is exposed.
    public static let refused = EndpointResetCode(rawValue: 1)
    /// There is no way to the destination.
    public static let unreachable = EndpointResetCode(rawValue: 2)
    /// The destination did not answer in time, or the flow was idle for too long.
    public static let timedOut = EndpointResetCode(rawValue: 3)
    /// The application's own connection was reset.
    public static let reset = EndpointResetCode(rawValue: 4)
    /// A bound is reached.
    public static let limit = EndpointResetCode(rawValue: 5)
    /// A rule forbids it.
    public static let notAllowed = EndpointResetCode(rawValue: 6)
    /// Somebody did not keep to the rules.
    public static let protocolViolation = EndpointResetCode(rawValue: 7)
    /// The session ends, or takes no endpoints now.
    public static let sessionEnded = EndpointResetCode(rawValue: 8)
    /// A fault of the program that says so.
    public static let internalError = EndpointResetCode(rawValue: 9)
}

extension EndpointResetCode: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noError: "no error"
        case .refused: "connection refused"
        case .unreachable: "destination unreachable"
        case .timedOut: "timed out"
        case .reset: "connection reset"
        case .limit: "limit reached"
        case .notAllowed: "not allowed"
        case .protocolViolation: "protocol violation"
        case .sessionEnded: "session ended"
        case .internalError: "internal error"
        default: "code \(rawValue)"
        }
    }
}
