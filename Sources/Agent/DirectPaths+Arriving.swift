// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Logging
internal import Primitives
internal import Providers
internal import Redirection
internal import Tunneling

// Connections that other nodes make to this one.
extension DirectPaths: DirectListenerDelegate {
    /// The relay has brought the two together, and has not parted them since.
    func directListener(_ listener: DirectListener, admits node: TransportID) -> Bool {
        isEnabled && !peers.tunnels(with: node, on: .relay).isEmpty
    }

    func directListener(_ listener: DirectListener, arrived provider: PeerProvider) -> GoAway? {
        do throws(RouteFailure) {
            try peers.start(provider, on: .direct)
            provider.nodeName = peers.active[provider.remote]?.nodeName ?? ""
            provider.admit()
            return nil
        } catch {
            sampler.log(
                .warning, kind: "peer", now: loop.now, "a node's tunnel is not taken", metadata: ["why": "\(error)"])
            return GoAway(code: .limit, text: "\(error)")
        }
    }

    func directListener(_ listener: DirectListener, failed why: String, from address: TransportAddress) {
        sampler.log(
            .info, kind: "direct-arrival", now: loop.now, "a direct connection did not become a node's",
            metadata: ["from": "\(address)", "why": "\(why)"])
    }
}
