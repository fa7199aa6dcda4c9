// SPDX-License-Identifier: Apache-2.0

/// The table `[direct]`: connections with other nodes that need no relay.
public struct DirectSettings: Equatable, Sendable {
    /// Whether nodes with which there is a tunnel through the relay may connect here, and are connected to.
    public var enabled = true
    /// The port on which they may, of every interface of this host; 0: one that the system chooses.
    public var port: UInt16 = 0

    /// The defaults.
    public init() {}

    init(from table: inout TableReader) {
        enabled = table.boolean("enabled", default: enabled)
        port = UInt16(clamping: table.integer("port", 0...65_535, default: Int(port)))
        table.finish()
    }
}
