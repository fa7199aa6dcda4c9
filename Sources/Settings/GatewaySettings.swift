// SPDX-License-Identifier: Apache-2.0

/// The way in for the hosts of a network that this host is the gateway of: the table `[gateway]`.
public struct GatewaySettings: Hashable, Sendable {
    /// The port that deploy/gateway.nft leads packets to.
    public static let usualPort: UInt16 = 4080

    /// The port, over TCP and UDP at every address: no host can use it but through the packet filter.
    public var port: UInt16
    /// Whether what is for no node goes out through the relay, where that lets this node.
    public var egress: Bool
    /// Whether what the hosts ask of DNS servers is answered here: nodes' names, and all others by the servers they meant.
    public var names: Bool

    public init(port: UInt16 = GatewaySettings.usualPort, egress: Bool = false, names: Bool = true) {
        self.port = port
        self.egress = egress
        self.names = names
    }

    /// `4080 nodes names`: how the command line asks for one.
    public var text: String { "\(port) \(egress ? "egress" : "nodes") \(names ? "names" : "no-names")" }

    /// Reads what ``text`` writes.
    public init?(text: [String]) {
        guard text.count == 3, let port = UInt16(text[0]), port > 0, ["egress", "nodes"].contains(text[1]),
            ["names", "no-names"].contains(text[2])
        else { return nil }
        self.init(port: port, egress: text[1] == "egress", names: text[2] == "names")
    }
}

extension GatewaySettings {
    init(from table: inout TableReader) {
        let port = table.integer("port", 1...65_535, default: Int(GatewaySettings.usualPort))
        self.init(
            port: UInt16(clamping: port), egress: table.boolean("egress", default: false),
            names: table.boolean("names", default: true))
        table.finish()
    }

    var rendered: String { "[gateway]\nport = \(port)\negress = \(egress)\nnames = \(names)\n" }
}
