// SPDX-License-Identifier: Apache-2.0

internal import CSQLite

/// One connection to a database file. Statements are prepared once and kept; used by one thread at a time.
final class Database {
    let path: String
    private let connection: OpaquePointer
    private var statements: [String: Statement] = [:]
    /// Nil until it was set: what a connection starts with is a matter of how SQLite was built.
    private var isDurable: Bool?

    /// How long a call waits for another process; nobody holds the lock for longer than a few writes take.
    private static let patience: Int32 = 5_000

    /// Opens a file that is there already. SQLite itself would make it readable by everybody.
    convenience init(path: String) throws(RegistryError) {
        try self.init(path: path, name: path, flags: SQLITE_OPEN_READWRITE)
    }

    /// Opens a file to read it only.
    /// - Parameter isImmutable: whether nobody writes to it, as it is on a file system without writers; nothing but the file
    ///   itself is looked at then.
    convenience init(reading path: String, isImmutable: Bool) throws(RegistryError) {
        // A file name in a URI (SQLite, "Uniform Resource Identifiers").
        let escaped = path.utf8.map { byte in
            let isPlain = [UInt8(ascii: "%"), UInt8(ascii: "?"), UInt8(ascii: "#")].contains(byte) == false
            return isPlain ? [byte] : Array("%\(String(byte, radix: 16))".utf8)
        }
        let name = "file:\(String(decoding: escaped.joined(), as: UTF8.self))\(isImmutable ? "?immutable=1" : "")"
        try self.init(path: path, name: name, flags: SQLITE_OPEN_READONLY | SQLITE_OPEN_URI)
    }

    private init(path: String, name: String, flags: Int32) throws(RegistryError) {
        var found: OpaquePointer?
        let code = sqlite3_open_v2(name, &found, flags | SQLITE_OPEN_NOMUTEX, nil)
        guard let found else { throw RegistryError(path: path, problem: .database(code: code, message: "no memory")) }
        guard code == SQLITE_OK else {
            let error = RegistryError(path, found)
            sqlite3_close_v2(found)
            throw error
        }
        self.path = path
        connection = found
        sqlite3_extended_result_codes(found, 1)
        sqlite3_busy_timeout(found, Database.patience)
    }

    deinit {
        statements.removeAll()
        sqlite3_close_v2(connection)
    }

    var isReadOnly: Bool { sqlite3_db_readonly(connection, "main") == 1 }

    /// Runs a statement and returns how many rows it changed.
    @discardableResult
    func run(_ sql: String, _ values: Value...) throws(RegistryError) -> Int {
        _ = try rows(sql, values) { _ in }
        return Int(sqlite3_changes(connection))
    }

    /// The first row of a query.
    func first<Result>(
        _ sql: String, _ values: Value..., read: (Row) throws(RegistryError) -> Result
    ) throws(RegistryError) -> Result? {
        try rows(sql, values, read: read).first
    }

    /// Every row of a query.
    func all<Result>(
        _ sql: String, _ values: Value..., read: (Row) throws(RegistryError) -> Result
    ) throws(RegistryError) -> [Result] {
        try rows(sql, values, read: read)
    }

    /// Does `work` as a whole or not at all, with nobody else writing meanwhile. Where it is `durable`, it outlives a power
    /// cut as soon as this returns; otherwise the last of such work may be lost with the power, but never in part.
    func transaction<Result>(
        durable: Bool, _ work: () throws(RegistryError) -> Result
    ) throws(RegistryError) -> Result {
        try setDurable(durable)
        return try bracketed("BEGIN IMMEDIATE", work)
    }

    /// Reads several things of one moment, whatever others write meanwhile.
    func snapshot<Result>(_ work: () throws(RegistryError) -> Result) throws(RegistryError) -> Result {
        try bracketed("BEGIN", work)
    }

    private func bracketed<Result>(
        _ begin: String, _ work: () throws(RegistryError) -> Result
    ) throws(RegistryError) -> Result {
        try run(begin)
        do {
            let result = try work()
            try run("COMMIT")
            return result
        } catch {
            // Some errors have rolled back by themselves; then this one is refused, and that is fine.
            if sqlite3_get_autocommit(connection) == 0 { _ = try? run("ROLLBACK") }
            throw error
        }
    }

    /// Does `work` without waiting for anybody's lock: it then fails as busy.
    func withoutWaiting(_ work: () throws(RegistryError) -> Void) throws(RegistryError) {
        sqlite3_busy_timeout(connection, 0)
        defer { sqlite3_busy_timeout(connection, Database.patience) }
        try work()
    }

    /// Runs a statement that is needed once, such as a schema's.
    func runOnce(_ sql: String) throws(RegistryError) {
        _ = try Statement(sql, connection, path).rows([]) { _ in }
    }

    private func rows<Result>(
        _ sql: String, _ values: [Value], read: (Row) throws(RegistryError) -> Result
    ) throws(RegistryError) -> [Result] {
        if let statement = statements[sql] { return try statement.rows(values, read: read) }
        let statement = try Statement(sql, connection, path)
        statements[sql] = statement
        return try statement.rows(values, read: read)
    }

    /// PRAGMA synchronous: FULL writes through to the disk at each commit, NORMAL at checkpoints only.
    private func setDurable(_ durable: Bool) throws(RegistryError) {
        guard durable != isDurable else { return }
        try run(durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL")
        isDurable = durable
    }
}

extension RegistryError {
    /// What the last call on a connection met.
    init(_ path: String, _ connection: OpaquePointer) {
        let code = sqlite3_extended_errcode(connection)
        let message = String(cString: sqlite3_errmsg(connection))
        let problem: Problem =
            switch code & 0xFF {
            case SQLITE_FULL: .diskFull
            case SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_FORMAT: .damaged(message)
            case SQLITE_BUSY, SQLITE_LOCKED: .busy
            case SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH: .notWritable(message)
            case SQLITE_IOERR: .inputOutput("\(message), SQLite \(code)")
            default: .database(code: code, message: message)
            }
        self.init(path: path, problem: problem)
    }
}
