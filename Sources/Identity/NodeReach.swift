// SPDX-License-Identifier: Apache-2.0

/// Which other nodes a node may connect to through a relay, as far as the relay has a say: whether they let it in, and to
/// what, is their own word.
public enum NodeReach: Hashable, Sendable {
    case all
    /// These alone; none where it is empty.
    case only(Set<NodeName>)

    /// Whether the node of that name may be connected to.
    public func allows(_ name: NodeName) -> Bool {
        switch self {
        case .all: true
        case .only(let names): names.contains(name)
        }
    }

    /// For a person, in alphabetical order.
    public var inWords: String {
        switch self {
        case .all: "every node"
        case .only(let names): names.isEmpty ? "no node" : names.map(\.text).sorted().joined(separator: ",")
        }
    }

    /// One text a node, an empty one for none at all, and nothing for all.
    var rules: [String] {
        switch self {
        case .all: []
        case .only(let names): names.isEmpty ? [""] : names.map(\.text).sorted()
        }
    }

    /// With one more of ``rules``.
    func adding(_ rule: some StringProtocol) throws(PortRuleError) -> NodeReach {
        var names: Set<NodeName> = []
        if case .only(let before) = self { names = before }
        guard !rule.isEmpty else { return .only(names) }
        guard let name = try? NodeName(String(rule)) else { throw PortRuleError(rule) }
        return .only(names.union([name]))
    }
}
