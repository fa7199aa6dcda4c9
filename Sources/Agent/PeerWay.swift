// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Providers
internal import Redirection
internal import Settings

/// A way on which a tunnel to another node can be made.
enum PeerWay: Hashable, CustomStringConvertible {
    case relay
    /// A connection of both to the relay, which has made one of the two: not made on demand either.
    case joined
    /// A connection between the two: not made on demand, but once it is there it is what the relay was for.
    case direct
    case provider(ProviderInstance)

    static func == (a: PeerWay, b: PeerWay) -> Bool {
        switch (a, b) {
        case (.relay, .relay), (.joined, .joined), (.direct, .direct): true
        case (.provider(let a), .provider(let b)): a === b
        default: false
        }
    }

    func hash(into hasher: inout Hasher) {
        if case .provider(let instance) = self { hasher.combine(ObjectIdentifier(instance)) }
    }

    /// Whether it is the relay that lets the two have it, so that who may go on one of these may go on all.
    var isOfRelay: Bool {
        switch self {
        case .relay, .joined, .direct: true
        case .provider: false
        }
    }

    /// Whether the relay carries it.
    var leadsThroughRelay: Bool { self == .relay || self == .joined }

    /// For programs.
    var word: String {
        switch self {
        case .relay: "relay"
        case .joined: "joined"
        case .direct: "direct"
        case .provider(let instance): instance.name
        }
    }

    var description: String {
        switch self {
        case .relay: "the relay"
        case .joined: "the relay (joined)"
        case .direct: "a direct path"
        case .provider(let instance): instance.name
        }
    }
}

/// A tunnel that somebody waits for: to whom it is to lead, and on which ways it may, in the order in which they are tried.
/// Users who may use the same ways wait for the same tunnel.
struct WantedTunnel: Hashable {
    let id: TransportID
    let ways: [PeerWay]
}

extension ExternalProviders {
    /// Whether somebody's sockets may use a way: everybody's the relay, and a provider whom its sddl admits.
    func admits(_ applicant: Applicant, to way: PeerWay) -> Bool {
        switch way {
        case .relay, .joined, .direct: true
        case .provider(let instance): provider(of: instance)?.admitted.admits(applicant) ?? false
        }
    }

    /// The ways that somebody may use.
    func ways(for applicant: Applicant, preferring first: ProviderSettings.Way) -> [PeerWay] {
        let providers = active.map { PeerWay.provider($0) }.filter { admits(applicant, to: $0) }
        return first == .provider ? providers + [.relay] : [.relay] + providers
    }

    /// The providers that would be there if somebody might use them.
    func closed(to applicant: Applicant) -> [ProviderInstance] {
        active.filter { !admits(applicant, to: .provider($0)) }
    }
}
