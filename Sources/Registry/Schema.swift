// SPDX-License-Identifier: Apache-2.0

/// What the tables look like, and how a registry of an older natfwt becomes one of this.
enum Schema {
    /// "nfwt" in PRAGMA application_id: tells our files from another program's.
    static let applicationID: Int64 = 0x6E66_7774

    /// Step n makes version n of version n - 1. A step that was released is never changed: the next one is added.
    static let steps: [[String]] = [
        [
            """
            CREATE TABLE nodes (
                key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
                name TEXT NOT NULL UNIQUE,
                permissions TEXT NOT NULL,
                created INTEGER NOT NULL,
                last_seen INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE invites (
                token_digest BLOB PRIMARY KEY NOT NULL CHECK (length(token_digest) = 32),
                name TEXT NOT NULL,
                permissions TEXT NOT NULL,
                created INTEGER NOT NULL,
                expires INTEGER,
                used_by BLOB CHECK (used_by IS NULL OR length(used_by) = 32),
                used_at INTEGER,
                CHECK ((used_by IS NULL) = (used_at IS NULL))
            ) STRICT, WITHOUT ROWID
            """,
            // One open invite a name, so that two nodes can never be registered under the same.
            "CREATE UNIQUE INDEX open_invites ON invites (name) WHERE used_by IS NULL",
            """
            CREATE TABLE revoked (
                key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
                name TEXT NOT NULL,
                at INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TABLE reservations (
                protocol TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp')),
                port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
                node BLOB NOT NULL REFERENCES nodes (key) ON DELETE CASCADE,
                label TEXT NOT NULL,
                last_used INTEGER NOT NULL,
                PRIMARY KEY (protocol, port)
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE INDEX reservations_of_node ON reservations (node)",
        ]
    ]

    /// Brings the registry to the version that `steps` ends with, in one transaction. Of several processes that start at
    /// once one does it, and the others find it done.
    static func migrate(_ database: Database, steps: [[String]] = Schema.steps) throws(RegistryError) {
        let target = Int64(steps.count)
        let found = try database.snapshot { () throws(RegistryError) in try version(of: database, target) }
        guard found < target else { return }
        try database.transaction(durable: true) { () throws(RegistryError) in
            let current = try version(of: database, target)
            guard current < target else { return }
            for statement in steps[Int(current)...].joined() { try database.runOnce(statement) }
            try database.runOnce("PRAGMA application_id = \(applicationID)")
            try database.runOnce("PRAGMA user_version = \(target)")
        }
    }

    /// Holds a registry that is only read to the version that `steps` ends with.
    static func verify(_ database: Database) throws(RegistryError) {
        let target = Int64(steps.count)
        guard try database.snapshot({ () throws(RegistryError) in try version(of: database, target) }) == target else {
            throw RegistryError(
                path: database.path, problem: .notWritable("an older natfwt's, which is to be brought up to date first")
            )
        }
    }

    /// The schema's version. Part of a transaction, as it asks more than once: the file could become a registry in between.
    private static func version(of database: Database, _ supported: Int64) throws(RegistryError) -> Int64 {
        let found = try database.pragma("user_version")
        let owner = try database.pragma("application_id")
        if owner != applicationID {
            let tables = try database.first("SELECT count(*) FROM sqlite_schema") { $0.integer(0) } ?? 0
            guard owner == 0, found == 0, tables == 0 else {
                throw RegistryError(path: database.path, problem: .notARegistry)
            }
        }
        guard found <= supported else {
            throw RegistryError(path: database.path, problem: .newerSchema(found: found, supported: supported))
        }
        guard found >= 0 else {
            throw RegistryError(path: database.path, problem: .damaged("its schema's version is \(found)"))
        }
        return found
    }
}

extension Database {
    /// The number that a PRAGMA answers.
    func pragma(_ name: String) throws(RegistryError) -> Int64 {
        try first("PRAGMA \(name)") { $0.integer(0) } ?? 0
    }
}
