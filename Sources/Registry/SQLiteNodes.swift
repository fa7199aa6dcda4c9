// SPDX-License-Identifier: Apache-2.0

public import Identity

/// Nodes: registered, listed, removed.
extension SQLiteRegistry {
    public func node(_ node: NodeID) throws(RegistryError) -> NodeRecord? {
        try database.first(
            "SELECT key, name, permissions, created, last_seen FROM nodes WHERE key = ?1", .blob(node.bytes),
            read: NodeRecord.init)
    }

    public func nodes() throws(RegistryError) -> [NodeRecord] {
        try database.all(
            "SELECT key, name, permissions, created, last_seen FROM nodes ORDER BY name", read: NodeRecord.init)
    }

    @discardableResult
    public func remove(_ name: NodeName, now: Int64) throws(RegistryError) -> Removal {
        try database.transaction(durable: true) { () throws(RegistryError) in
            if let found = try node(named: name) {
                try database.run(
                    "INSERT OR REPLACE INTO revoked (key, name, at) VALUES (?1, ?2, ?3)", .blob(found.id.bytes),
                    .text(name.text), .integer(now))
                try database.run("DELETE FROM nodes WHERE key = ?1", .blob(found.id.bytes))
                return .node(found)
            }
            if let open = try openInvite(name) {
                try deleteOpenInvite(name)
                return .invite(open)
            }
            throw RegistryError(path: database.path, problem: .unknownName(name))
        }
    }

    @discardableResult
    public func changePermissions(
        of name: NodeName, _ change: (inout Permissions) -> Void
    ) throws(RegistryError) -> Permissions {
        try database.transaction(durable: true) { () throws(RegistryError) in
            let node = try node(named: name)
            let invite = node == nil ? try openInvite(name) : nil
            guard var permissions = node?.permissions ?? invite?.permissions else {
                throw RegistryError(path: database.path, problem: .unknownName(name))
            }
            change(&permissions)
            try database.run(
                node == nil
                    ? "UPDATE invites SET permissions = ?2 WHERE name = ?1 AND used_by IS NULL"
                    : "UPDATE nodes SET permissions = ?2 WHERE name = ?1",
                .text(name.text), .text(permissions.description))
            return permissions
        }
    }

    func node(named name: NodeName) throws(RegistryError) -> NodeRecord? {
        try database.first(
            "SELECT key, name, permissions, created, last_seen FROM nodes WHERE name = ?1", .text(name.text),
            read: NodeRecord.init)
    }

    func isRevoked(_ node: NodeID) throws(RegistryError) -> Bool {
        try database.first("SELECT 1 FROM revoked WHERE key = ?1", .blob(node.bytes)) { _ in true } ?? false
    }

    func setLastSeen(_ node: NodeID, _ now: Int64) throws(RegistryError) {
        try database.run("UPDATE nodes SET last_seen = ?2 WHERE key = ?1", .blob(node.bytes), .integer(now))
    }

    func insert(_ record: NodeRecord) throws(RegistryError) {
        try database.run(
            "INSERT INTO nodes (key, name, permissions, created, last_seen) VALUES (?1, ?2, ?3, ?4, ?5)",
            .blob(record.id.bytes), .text(record.name.text), .text(record.permissions.description),
            .integer(record.created), .integer(record.lastSeen))
        try database.run("DELETE FROM revoked WHERE key = ?1", .blob(record.id.bytes))
    }
}

extension NodeRecord {
    fileprivate init(_ row: Row) throws(RegistryError) {
        self.init(
            id: try row.nodeID(0), name: try row.nodeName(1), permissions: try row.permissions(2),
            created: row.integer(3), lastSeen: row.integer(4))
    }
}

/// Columns that more than one table has.
extension Row {
    func nodeID(_ column: Int32) throws(RegistryError) -> NodeID {
        guard let id = NodeID(bytes: blob(column)) else { throw damaged("a node's key has not 32 bytes") }
        return id
    }

    func nodeName(_ column: Int32) throws(RegistryError) -> NodeName {
        do { return try NodeName(text(column)) } catch { throw damaged("a node's name: \(error)") }
    }

    func permissions(_ column: Int32) throws(RegistryError) -> Permissions {
        do { return try Permissions(text(column)) } catch { throw damaged("a node's permissions: \(error)") }
    }
}
