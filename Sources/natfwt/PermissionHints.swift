// SPDX-License-Identifier: Apache-2.0

import Identity
import Registry
import Settings

/// Tells who allows a node something that comes to nothing as things are. Warnings and no errors: nodes join later, and
/// settings change.
struct PermissionHints {
    let settings: RelaySettings
    /// The settings' file, if any.
    let file: String?

    /// - Parameters:
    ///   - expose: the rules that were given; those that are there by default say nothing.
    ///   - egress: whether the node was let out just now.
    func tell(
        expose: [PortRule], egress: Bool, _ reach: NodeReach?, _ registry: SQLiteRegistry
    ) throws(RegistryError) {
        for rule in expose { tellOfPorts(rule) }
        if egress, !settings.egress.allow {
            complain("warning: no node is let out until [egress] has allow = true in \(file ?? DefaultPlace.relayFile)")
        }
        guard case .only(let names)? = reach else { return }
        let known = Set(try registry.nodes().map(\.name) + registry.invites().filter { $0.use == nil }.map(\.name))
        for name in names.subtracting(known).map(\.text).sorted() {
            let near = nearest(name, among: known.map(\.text).sorted()).map { "; did you mean \"\($0)\"?" } ?? ""
            complain("warning: no node and no open invite has the name \"\(name)\"\(near)")
        }
    }

    private func tellOfPorts(_ rule: PortRule) {
        let refused = rule.ports.filter { !settings.expose.permits(rule.protocol, $0) }
        guard !refused.isEmpty else { return }
        let offered = settings.expose.ports.map(\.description).joined(separator: ", ")
        let part = refused.count == rule.ports.count ? "" : " in part"
        complain("warning: \(rule) is\(part) outside of the relay's expose.ports (\(offered)), and refused there")
    }
}
