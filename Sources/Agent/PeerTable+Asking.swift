// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Identity
internal import Providers
internal import Tunneling

// What others ask of the tunnels that there are.
extension PeerTable {
    /// The tunnels with a node that are active, on a way or on any; the newest first.
    func tunnels(with id: TransportID, on way: PeerWay? = nil) -> [PeerProvider] {
        peers.values.filter { $0.isActive && $0.provider.remote == id && (way == nil || $0.way == way) }
            .sorted { $0.since > $1.since }.map(\.provider)
    }

    /// All by which a node is known here; the last one is for people.
    func names(of id: TransportID) -> [String] {
        guard let provider = active[id], !provider.identities.isEmpty else { return [] }
        // Until the relay has said what it is called it is who it was before.
        let name = provider.nodeName.isEmpty ? names.knownName(of: id) : provider.nodeName
        return name.map { provider.identities + [$0] } ?? provider.identities
    }

    /// The tunnel that is used with a node, if there is one.
    func tunnel(with id: TransportID) -> Tunnel? { active[id]?.tunnel }

    /// The peer of a session, for the status.
    func peer(of instance: ProviderInstance) -> PeerProvider? {
        peers.values.first { $0.provider.instance === instance }?.provider
    }

    /// What carries a tunnel.
    func way(of provider: PeerProvider?) -> PeerWay {
        provider.flatMap { peers[ObjectIdentifier($0)]?.way } ?? .relay
    }

    /// What carries the tunnel that is used with a node.
    func way(to id: TransportID) -> PeerWay { way(of: active[id]) }

    /// Whether a tunnel carries anything that the agent waits for when it stops.
    var isBusy: Bool { peers.values.contains { $0.provider.tunnel?.hasByteStreams == true } }
    var streams: Int { peers.values.reduce(0) { $0 + ($1.provider.tunnel?.streamCount ?? 0) } }

    /// Whether a tunnel is for everybody: what comes on others can't be answered by a device that everybody shares.
    func isForEverybody(_ instance: ProviderInstance?) -> Bool {
        guard let peer = peers.values.first(where: { $0.provider.instance === instance }) else { return false }
        return external?.admits(.anybody, to: peer.way) ?? true
    }
}
