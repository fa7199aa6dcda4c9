// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Primitives

/// Where nodes may go to from a relay. A pure judgement of addresses and ports: nothing is looked up in it.
public struct EgressPolicy: Equatable, Sendable {
    /// What may be reached although it is not public, and what never may be, which is stronger.
    public var also: [AddressPrefix]
    public var except: [AddressPrefix]
    /// The ports that may be reached over TCP and over UDP.
    public var streamPorts: [ClosedRange<UInt16>]
    public var datagramPorts: [ClosedRange<UInt16>]

    public init(
        also: [AddressPrefix] = [], except: [AddressPrefix] = [], streamPorts: [ClosedRange<UInt16>] = [1...65_535],
        datagramPorts: [ClosedRange<UInt16>] = [1...65_535]
    ) {
        self.also = also
        self.except = except
        self.streamPorts = streamPorts
        self.datagramPorts = datagramPorts
    }

    /// The rule that keeps something from being reached.
    public enum Rule: String, Error, Sendable, CustomStringConvertible {
        case switchedOff = "egress.allow is off"
        case node = "the registry does not let this node out"
        case port = "egress.ports leaves the port out"
        case except = "egress.except names it"
        case own = "it is an address of the relay itself"
        case ownUnknown = "the relay's own addresses can't be found out"
        case metadata = "a cloud tells its machines there what is theirs alone"
        case notPublic = "it is not a public address"
        case noHost = "it is neither an address nor a name"

        public var description: String { rawValue }
    }

    /// Public by its number, but answered by the host's own cloud (Azure's platform). The others' such services have
    /// link-local, unique local or shared addresses.
    private static let metadata = [IPAddress(v4: 0xA83F_8110)]

    /// Whether the port may be reached.
    public func permits(_ kind: Endpoint.Kind, _ port: UInt16) -> Bool {
        switch kind {
        case .stream: port > 0 && streamPorts.contains { $0.contains(port) }
        case .datagram: port > 0 && datagramPorts.contains { $0.contains(port) }
        case .packet: false
        }
    }

    /// Why the address may not be reached; nil where it may.
    /// - Parameter own: the relay's own addresses, without scopes; nil where they are not known.
    public func refusal(of address: IPAddress, own: Set<IPAddress>?) -> Rule? {
        let address = address.canonical
        // It means this host, whatever an operator writes about everything.
        guard !address.isUnspecified else { return .notPublic }
        if except.contains(where: { $0.contains(address) }) { return .except }
        // Whoever allows the prefix of a NAT64 means what is behind it, and not a way around all other rules.
        if let inner = address.translated, let rule = refusal(of: inner, own: own) { return rule }
        if also.contains(where: { $0.contains(address) }) { return nil }
        guard let own else { return .ownUnknown }
        if own.contains(address) { return .own }
        if EgressPolicy.metadata.contains(address) { return .metadata }
        return address.isGlobal ? nil : .notPublic
    }
}
