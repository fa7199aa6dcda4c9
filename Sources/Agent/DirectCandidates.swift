// SPDX-License-Identifier: Apache-2.0

internal import Identity
internal import Primitives
internal import Tunneling

/// Where a node can be reached directly, as it tells others.
enum DirectCandidates {
    /// The addresses of this host that other hosts may know it by, what is near before what is far, and the one that the relay
    /// sees last: behind a NAT that is the router's, which leads here where somebody has told it to.
    static func list(
        _ addresses: Set<IPAddress>, observed: IPAddress?, portV4: UInt16?, portV6: UInt16?
    ) -> [TransportAddress] {
        var sorted = addresses.filter(\.isCandidate).sorted {
            ($0.isGlobal ? 1 : 0, $0.value) < ($1.isGlobal ? 1 : 0, $1.value)
        }
        sorted = Array(sorted.prefix(Signal.mostCandidates - 1))
        if let observed, observed.isCandidate, !sorted.contains(observed) { sorted.append(observed) }
        return sorted.compactMap { address in
            (address.family == .v4 ? portV4 : portV6).map { TransportAddress(address, port: $0) }
        }
    }
}

extension IPAddress {
    /// Whether a node may be reached at this address by a direct connection: it means one host, and not just on one link
    /// (RFC 8445, 5.1.1.1), and is not the transport ID of a node, which this is to lead to.
    var isCandidate: Bool {
        let address = canonical
        guard !address.isLoopback, !address.isUnspecified, !address.isLinkLocal, !address.isORCHID else { return false }
        switch address.family {
        // This network, and multicast with what is reserved above it.
        case .v4: return address.value >> 24 != 0 && address.value >> 28 < 0xE
        case .v6: return address.scope == 0 && address.value >> 120 != 0xFF
        }
    }
}
