// SPDX-License-Identifier: Apache-2.0

internal import Settings
internal import Tunneling

extension AgentSettings {
    /// Whether something is changed that a running agent can't change.
    func needsRestart(after old: AgentSettings) -> Bool {
        key != old.key || adminSocket != old.adminSocket || limits != old.limits || nameSuffix != old.nameSuffix
            || knownNodes != old.knownNodes || providers != old.providers
    }

    /// The bounds of the tunnel to the relay.
    var tunnelLimits: TunnelLimits {
        var tunnel = TunnelLimits()
        tunnel.streams = limits.streams + limits.flows
        tunnel.firstWindow = limits.firstWindow
        tunnel.earlyWindow = min(tunnel.earlyWindow, limits.firstWindow)
        tunnel.largestWindow = limits.streamWindow
        tunnel.queuedBytes = limits.queuedBytes
        tunnel.datagramQueue = limits.datagramQueue
        tunnel.controlQueue = limits.controlQueue
        tunnel.controlFrame = limits.headerBytes
        tunnel.opensPerSecond = limits.opensPerSecond
        return tunnel
    }
}
