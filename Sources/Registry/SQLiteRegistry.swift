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

    /// Opens the registry in a file for who only asks: where it can't be written to it is read as it is.
    public static func reading(path: String) throws(RegistryError) -> SQLiteRegistry {
        do throws(RegistryError) {
            return try SQLiteRegistry(path: path)
        } catch {
            guard case .notWritable = error.problem else { throw error }
            return try SQLiteRegistry(RegistryFile.openReading(path))
        }
    }

    init(_ database: Database) throws(RegistryError) {
        self.database = database
        knownVersion = try database.pragma("data_version")
    }

    public func admit(_ node: NodeID, invite: InviteToken?, now: Int64) throws(RegistryError) -> Admission {
        if let known = try self.node(node) { return .admitted(seen(known, now), newlyRegistered: false) }
        // Without a lock first: whoever tries tokens must not hold up those who write.
        switch try database.snapshot({ () throws(RegistryError) in try judge(node, invite, now) }) {
        case .settled(let admission): return admission
        case .invited(_, let token): return try register(node, token, now)
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

    /// What there is to say to a login.
    private enum Verdict {
        case settled(Admission)
        /// The invite is good, and has to be used up first.
        case invited(InviteRecord, InviteToken)
    }

    /// Part of a transaction: between two looks of its own, the node might be registered by another login of its.
    private func judge(_ node: NodeID, _ invite: InviteToken?, _ now: Int64) throws(RegistryError) -> Verdict {
        if let known = try self.node(node) { return .settled(.admitted(known, newlyRegistered: false)) }
        let found = try invite.flatMap { token throws(RegistryError) in try self.invite(token) }
        if let found, let invite, found.use == nil, !found.isExpired(now: now) { return .invited(found, invite) }
        if try isRevoked(node) { return .settled(.refused(.revoked)) }
        guard invite != nil else { return .settled(.refused(.unknownNode)) }
        guard let found else { return .settled(.refused(.inviteUnknown)) }
        return .settled(.refused(found.use == nil ? .inviteExpired : .inviteUsed))
    }

    /// Judges once more, as the only one who writes now, and registers the node.
    private func register(_ node: NodeID, _ invite: InviteToken, _ now: Int64) throws(RegistryError) -> Admission {
        try database.transaction(durable: true) { () throws(RegistryError) in
            switch try judge(node, invite, now) {
            case .settled(let admission): return admission
            case .invited(let found, let token):
                let record = NodeRecord(
                    id: node, name: found.name, permissions: found.permissions, created: now, lastSeen: now)
                try insert(record)
                try use(token, by: node, now)
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
