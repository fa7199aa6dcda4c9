// SPDX-License-Identifier: Apache-2.0

public import Identity

/// Ports that stay a node's over restarts.
extension SQLiteRegistry {
    /// A label is the node's word: kept to a length that costs nothing.
    private static let labelLength = 100
    /// How old `lastUsed` may grow before it is written again, in seconds.
    private static let usePrecision: Int64 = 3_600

    public func reserve(
        _ protocol: PortProtocol, port: UInt16, for node: NodeID, label: String, now: Int64
    ) throws(RegistryError) -> ReservationResult {
        let label = String(decoding: label.utf8.prefix(SQLiteRegistry.labelLength), as: UTF8.self)
        if let result = try settled(`protocol`, port, node, label, now) { return result }
        return try database.transaction(durable: false) { () throws(RegistryError) in
            if let result = try settled(`protocol`, port, node, label, now) { return result }
            guard try self.node(node) != nil else {
                throw RegistryError(path: database.path, problem: .unknownNode(node))
            }
            try database.run(
                """
                INSERT INTO reservations (protocol, port, node, label, last_used) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (protocol, port) DO UPDATE SET label = excluded.label, last_used = excluded.last_used
                """,
                .text(`protocol`.rawValue), .integer(Int64(port)), .blob(node.bytes), .text(label), .integer(now))
            return .reserved
        }
    }

    public func release(_ protocol: PortProtocol, port: UInt16, by node: NodeID) throws(RegistryError) {
        try database.transaction(durable: false) { () throws(RegistryError) in
            _ = try database.run(
                "DELETE FROM reservations WHERE protocol = ?1 AND port = ?2 AND node = ?3",
                .text(`protocol`.rawValue), .integer(Int64(port)), .blob(node.bytes))
        }
    }

    public func reservations(of node: NodeID) throws(RegistryError) -> [Reservation] {
        try database.all(
            """
            SELECT node, protocol, port, label, last_used FROM reservations WHERE node = ?1
            ORDER BY last_used DESC, protocol, port
            """,
            .blob(node.bytes), read: Reservation.init)
    }

    public func owner(of protocol: PortProtocol, port: UInt16) throws(RegistryError) -> NodeID? {
        try reservation(`protocol`, port)?.node
    }

    private func reservation(_ protocol: PortProtocol, _ port: UInt16) throws(RegistryError) -> Reservation? {
        try database.first(
            "SELECT node, protocol, port, label, last_used FROM reservations WHERE protocol = ?1 AND port = ?2",
            .text(`protocol`.rawValue), .integer(Int64(port)), read: Reservation.init)
    }

    /// The answer where nothing has to be written for it.
    private func settled(
        _ protocol: PortProtocol, _ port: UInt16, _ node: NodeID, _ label: String, _ now: Int64
    ) throws(RegistryError) -> ReservationResult? {
        guard let found = try reservation(`protocol`, port) else { return nil }
        guard found.node == node else { return .taken(by: found.node) }
        let isFresh = found.label == label && !now.isFar(from: found.lastUsed, by: SQLiteRegistry.usePrecision)
        return isFresh ? .reserved : nil
    }
}

extension Reservation {
    fileprivate init(_ row: Row) throws(RegistryError) {
        guard let found = PortProtocol(rawValue: row.text(1)), let port = UInt16(exactly: row.integer(2)) else {
            throw row.damaged("a reservation of \(row.text(1)) port \(row.integer(2))")
        }
        self.init(node: try row.nodeID(0), protocol: found, port: port, label: row.text(3), lastUsed: row.integer(4))
    }
}
