// SPDX-License-Identifier: Apache-2.0

/// The name of an endpoint, unique for the life of its platform. Never 0.
public struct EndpointLUID: Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public var description: String { "#\(rawValue)" }
}

/// The name of a network interface, which outlives the sessions of the instances that use it (obligation 5).
/// Zero stands for none.
public struct InterfaceLUID: Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public var description: String { "#\(rawValue)" }
}

/// The receipt that a provider shows to ``ProviderInstance/complete(_:_:now:)`` when a call that it pended is done
/// (obligations 19, 24). Unique within its instance.
public struct PendedCall: Hashable, Sendable {
    public let id: UInt64
    public init(id: UInt64) { self.id = id }
}

/// Who may use the interface of an instance, in the place of the published security descriptor.
public enum AllowedUser: Hashable, Sendable {
    case user(String)
    case group(String)
    /// Every user of this host.
    case everybody

    var name: String {
        switch self {
        case .everybody: "*"
        case .user(let name), .group(let name): name
        }
    }
}
