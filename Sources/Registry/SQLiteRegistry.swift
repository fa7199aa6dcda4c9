// SPDX-License-Identifier: Apache-2.0

public import Identity

/// A registry in one SQLite file, shared by any number of processes on one host. Registrations, invites and removals are
/// on the disk when a call returns, and survive the sudden end of any process; the times when nodes were seen, and port
/// reservations, may lose their last moments with the power.
public final class SQLiteRegistry: NodeRegistry {
    /// What the file is called in a relay's state directory.
    public static let fileName = "registry.db"

    let database: Database
    private var knownVersion: Int64

    /// The last failure to write what may be lost (`noteSeen`): for the log and the metrics.
    public private(set) var lastSeenFailure: RegistryError?

    /// Opens the registry in a file, and makes it where there is none; its directory has to be there.
    public convenience init(path: String) throws(RegistryError) {
        try self.init(RegistryFile.open(path))
    }

    init(_ database: Database) throws(RegistryError) {
        self.database = database
        knownVersion = try database.pragma("data_version")
    }

    public func admit(_ node: NodeID, invite: InviteToken?, now: Int64) throws(RegistryError) -> Admission {
        if let known = try self.node(node) { return .admitted(seen(known, now), newlyRegistered: false) }
        guard let invite else { return .refused(try isRevoked(node) ? .revoked : .unknownNode) }
        // Without a lock first: whoever tries tokens must not hold up those who write.
        switch try judge(invite, node, now) {
        case .failure(let reason): return .refused(reason)
        case .success: return try register(node, invite, now)
        }
    }

    public func noteSeen(_ node: NodeID, now: Int64) {
        do {
            if let known = try self.node(node) { _ = seen(known, now) }
        } catch {
            lastSeenFailure = error
        }
    }

    public func hasChangedElsewhere() throws(RegistryError) -> Bool {
        let version = try database.pragma("data_version")
        defer { knownVersion = version }
        return version != knownVersion
    }

    /// The invite, or why it is no use to this node. `Result` because a refusal is no failure of the registry.
    private func judge(
        _ invite: InviteToken, _ node: NodeID, _ now: Int64
    ) throws(RegistryError) -> Result<InviteRecord, RefusalReason> {
        let found = try self.invite(invite)
        if let found, found.use == nil, !found.isExpired(now: now) { return .success(found) }
        if try isRevoked(node) { return .failure(.revoked) }
        guard let found else { return .failure(.inviteUnknown) }
        return .failure(found.use == nil ? .inviteExpired : .inviteUsed)
    }

    /// Judges once more, as the only one who writes now, and registers the node.
    private func register(_ node: NodeID, _ invite: InviteToken, _ now: Int64) throws(RegistryError) -> Admission {
        try database.transaction(durable: true) { () throws(RegistryError) in
            if let known = try self.node(node) { return .admitted(known, newlyRegistered: false) }
            switch try judge(invite, node, now) {
            case .failure(let reason): return .refused(reason)
            case .success(let found):
                let record = NodeRecord(
                    id: node, name: found.name, permissions: found.permissions, created: now, lastSeen: now)
                try insert(record)
                try use(invite, by: node, now)
                return .admitted(record, newlyRegistered: true)
            }
        }
    }

    /// Writes down that the node was there, where that is a minute or more ago, unless it would have to wait.
    private func seen(_ known: NodeRecord, _ now: Int64) -> NodeRecord {
        guard now.isFar(from: known.lastSeen, by: 60) else { return known }
        do {
            try database.withoutWaiting { () throws(RegistryError) in
                try database.transaction(durable: false) { () throws(RegistryError) in
                    try setLastSeen(known.id, now)
                }
            }
        } catch {
            if error.problem != .busy { lastSeenFailure = error }
        }
        var known = known
        known.lastSeen = now
        return known
    }
}

extension RefusalReason: Error {}
