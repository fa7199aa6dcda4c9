// SPDX-License-Identifier: Apache-2.0

internal import CSQLite

/// What a statement's parameters are given.
enum Value {
    case integer(Int64)
    case text(String)
    case blob([UInt8])
    case null

    static func optional(_ value: Int64?) -> Value { value.map(Value.integer) ?? .null }
}

/// A prepared statement; finalised when the object goes, which is before its connection does.
final class Statement {
    private let pointer: OpaquePointer
    private let connection: OpaquePointer
    private let path: String

    init(_ sql: String, _ connection: OpaquePointer, _ path: String) throws(RegistryError) {
        var found: OpaquePointer?
        let code = sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &found, nil)
        guard code == SQLITE_OK, let found else { throw RegistryError(path, connection) }
        pointer = found
        self.connection = connection
        self.path = path
    }

    deinit { sqlite3_finalize(pointer) }

    /// Runs it to its end. No read stays open behind it: an open one would hold up the log's cleaning.
    func rows<Result>(
        _ values: [Value], read: (Row) throws(RegistryError) -> Result
    ) throws(RegistryError) -> [Result] {
        defer {
            sqlite3_reset(pointer)
            sqlite3_clear_bindings(pointer)
        }
        for (index, value) in values.enumerated() { try bind(value, Int32(index + 1)) }
        var results: [Result] = []
        while true {
            switch sqlite3_step(pointer) {
            case SQLITE_ROW: results.append(try read(Row(statement: pointer, path: path)))
            case SQLITE_DONE: return results
            default: throw RegistryError(path, connection)
            }
        }
    }

    private func bind(_ value: Value, _ index: Int32) throws(RegistryError) {
        let code =
            switch value {
            case .integer(let number): sqlite3_bind_int64(pointer, index, number)
            case .text(let text): sqlite3_bind_text(pointer, index, text, -1, Statement.copied)
            // Not null for an empty array: that would be SQL's NULL.
            case .blob(let bytes):
                bytes.isEmpty
                    ? sqlite3_bind_zeroblob(pointer, index, 0)
                    : sqlite3_bind_blob(pointer, index, bytes, Int32(clamping: bytes.count), Statement.copied)
            case .null: sqlite3_bind_null(pointer, index)
            }
        guard code == SQLITE_OK else { throw RegistryError(path, connection) }
    }

    /// SQLITE_TRANSIENT, a macro: SQLite takes a copy before the call returns.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
}

/// A row while it is read; not kept. A column that holds what it should not is a damaged registry, not a trap.
struct Row {
    fileprivate let statement: OpaquePointer
    let path: String

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

    func text(_ column: Int32) -> String {
        guard let bytes = sqlite3_column_text(statement, column) else { return "" }
        return String(
            decoding: UnsafeBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column))),
            as: UTF8.self)
    }

    func blob(_ column: Int32) -> [UInt8] {
        guard let bytes = sqlite3_column_blob(statement, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column))))
    }

    func damaged(_ what: String) -> RegistryError { RegistryError(path: path, problem: .damaged(what)) }
}
