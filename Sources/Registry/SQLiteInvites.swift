// SPDX-License-Identifier: Apache-2.0

public import Identity

/// Invites: made, listed, used. The tokens themselves are never stored.
extension SQLiteRegistry {
    @discardableResult
    public func createInvite(
        _ token: InviteToken, name: NodeName, permissions: Permissions, expiresAt: Int64?, now: Int64
    ) throws(RegistryError) -> Bool {
        try database.transaction(durable: true) { () throws(RegistryError) in
            guard try node(named: name) == nil else {
                throw RegistryError(path: database.path, problem: .nameTaken(name))
            }
            let replaced = try deleteOpenInvite(name)
            try database.run(
                "INSERT INTO invites (token_digest, name, permissions, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
                .blob(token.digest), .text(name.text), .text(permissions.description), .integer(now),
                .optional(expiresAt))
            return replaced
        }
    }

    public func invites() throws(RegistryError) -> [InviteRecord] {
        try database.all(
            """
            SELECT name, permissions, created, expires, used_by, used_at FROM invites
            ORDER BY created, name, token_digest
            """,
            read: InviteRecord.init)
    }

    func invite(_ token: InviteToken) throws(RegistryError) -> InviteRecord? {
        try database.first(
            "SELECT name, permissions, created, expires, used_by, used_at FROM invites WHERE token_digest = ?1",
            .blob(token.digest), read: InviteRecord.init)
    }

    func openInvite(_ name: NodeName) throws(RegistryError) -> InviteRecord? {
        try database.first(
            """
            SELECT name, permissions, created, expires, used_by, used_at FROM invites
            WHERE name = ?1 AND used_by IS NULL
            """,
            .text(name.text), read: InviteRecord.init)
    }

    /// Whether there was one.
    @discardableResult
    func deleteOpenInvite(_ name: NodeName) throws(RegistryError) -> Bool {
        try database.run("DELETE FROM invites WHERE name = ?1 AND used_by IS NULL", .text(name.text)) > 0
    }

    /// Marks an open invite as used. Part of a transaction that has seen it open.
    func use(_ token: InviteToken, by node: NodeID, _ now: Int64) throws(RegistryError) {
        let changed = try database.run(
            "UPDATE invites SET used_by = ?2, used_at = ?3 WHERE token_digest = ?1 AND used_by IS NULL",
            .blob(token.digest), .blob(node.bytes), .integer(now))
        guard changed == 1 else {
            throw RegistryError(path: database.path, problem: .damaged("an open invite could not be marked as used"))
        }
    }
}

extension InviteRecord {
    fileprivate init(_ row: Row) throws(RegistryError) {
        let use = row.isNull(4) ? nil : Use(node: try row.nodeID(4), at: row.integer(5))
        self.init(
            name: try row.nodeName(0), permissions: try row.permissions(1), created: row.integer(2),
            expiresAt: row.optionalInteger(3), use: use)
    }
}
