// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Primitives
internal import Redirection
internal import Registry
internal import Settings

// How nodes reach other hosts from here, where the settings and the registry let them.

extension NodeTable {
    /// A node opens something to a host that is no node.
    func letOut(_ endpoint: Endpoint) -> EndpointResetCode? {
        guard let record = node(at: endpoint.remote.address)?.record else { return .notAllowed }
        return egress.accept(endpoint, from: record.name.text, isAllowed: record.permissions.egress)
    }

    /// Takes over what the settings say of it; turned off, it ends what is open.
    func applyEgress() {
        egress.policy = EgressPolicy(settings.egress)
        egress.limits = EgressLimits(settings)
        guard egress.policy != nil else {
            for node in nodes.values { endEgress(of: node) }
            return
        }
        findOuterAddresses()
    }

    func endEgress(of node: Node) {
        if let instance = node.provider.instance { egress.end(over: instance) }
    }

    /// A relay behind a NAT has addresses that none of its interfaces tells of.
    private func findOuterAddresses() {
        egress.outerAddresses = Set(settings.listen.map(\.ip.canonical))
        for host in settings.publicAddress {
            if let address = host.address {
                egress.outerAddresses.insert(address.ip.canonical)
                continue
            }
            Resolver.resolve(loop: loop, host) { [weak egress] result in
                guard case .success(let found) = result else { return }
                for address in found { egress?.outerAddresses.insert(address.ip.canonical) }
            }
        }
    }
}

extension EgressPolicy {
    /// Nil where nobody is let out.
    init?(_ settings: RelaySettings.Egress) {
        guard settings.allow else { return nil }
        self.init(
            also: settings.also, except: settings.except,
            streamPorts: settings.ports.filter { $0.protocol == .tcp }.map(\.ports),
            datagramPorts: settings.ports.filter { $0.protocol == .udp }.map(\.ports))
    }
}

extension EgressLimits {
    init(_ settings: RelaySettings) {
        self.init(
            connectTimeout: settings.timeouts.connect, flowTimeout: settings.timeouts.udpFlow,
            halfClosed: settings.timeouts.halfClosed, dialsPerNode: settings.limits.dialsPerNode,
            flowsPerNode: settings.limits.flowsPerNode)
    }
}
