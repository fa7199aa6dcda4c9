// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The file that a registry lives in: made for its owner only, and opened with the settings that keep it whole.
enum RegistryFile {
    /// Opens the registry of a path, and makes it where there is none. `pageLimit` holds the file to a size, in pages.
    static func open(_ path: String, pageLimit: Int? = nil) throws(RegistryError) -> Database {
        try prepare(path)
        let database = try Database(path: path)
        guard !database.isReadOnly else {
            throw RegistryError(path: path, problem: .notWritable("no permission, or a read-only file system"))
        }
        try check(database)
        try configure(database)
        if let pageLimit { try database.runOnce("PRAGMA max_page_count = \(pageLimit)") }
        try Schema.migrate(database)
        return database
    }

    /// Opens the registry of a path to read it only, where its folder can't be written to. What a relay there has not yet
    /// moved from its log into the file is read too, or else said to be missing.
    static func openReading(_ path: String) throws(RegistryError) -> Database {
        do throws(RegistryError) {
            return try checked(Database(reading: path, isImmutable: false))
        } catch {
            // Without the log's index, which readers can't make there; where the log is empty, or gone, all is in the file.
            var status = stat()
            guard case .notWritable = error.problem, stat("\(path)-wal", &status) != 0 || status.st_size == 0 else {
                throw error
            }
            return try checked(Database(reading: path, isImmutable: true))
        }
    }

    private static func checked(_ database: Database) throws(RegistryError) -> Database {
        try check(database)
        try Schema.verify(database)
        return database
    }

    /// Sees to it that there is an ordinary file with mode 0600. It is never opened here where it is there already: closing
    /// it again would drop the locks that other connections of this process have on it (POSIX, fcntl).
    private static func prepare(_ path: String) throws(RegistryError) {
        var status = stat()
        if lstat(path, &status) != 0 {
            guard errno == ENOENT else { throw RegistryError(path, errno) }
            try create(path)
            guard lstat(path, &status) == 0 else { throw RegistryError(path, errno) }
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw RegistryError(path: path, problem: .notAFile) }
        // A copy from a backup may have come with other rights. What belongs to somebody else is left alone.
        if status.st_mode & 0o077 != 0, status.st_uid == geteuid() { chmod(path, 0o600) }
    }

    private static func create(_ path: String) throws(RegistryError) {
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            if errno == EEXIST { return }
            throw RegistryError(path, errno)
        }
        defer { close(file) }
        // Made by root in the directory of the user that the relay runs as, it has to be that user's.
        var directory = stat()
        if geteuid() == 0, stat(parent(of: path), &directory) == 0 {
            _ = fchown(file, directory.st_uid, directory.st_gid)
        }
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Reads the whole file once: a damaged one is told at the start, and not when a node logs in.
    private static func check(_ database: Database) throws(RegistryError) {
        try database.runOnce("PRAGMA cell_size_check = ON")
        try database.runOnce("PRAGMA trusted_schema = OFF")
        let findings = try database.all("PRAGMA quick_check(1)") { $0.text(0) }
        guard findings == ["ok"] else {
            throw RegistryError(path: database.path, problem: .damaged(findings.first ?? "no answer to quick_check"))
        }
    }

    /// A write-ahead log, so that a login never waits for a writer.
    private static func configure(_ database: Database) throws(RegistryError) {
        try database.runOnce("PRAGMA foreign_keys = ON")
        // The change to a log needs the file alone, and SQLite does not wait for that by itself.
        var attempts = 0
        while true {
            do throws(RegistryError) {
                return try database.runOnce("PRAGMA journal_mode = WAL")
            } catch {
                attempts += 1
                guard error.problem == .busy, attempts < 250 else { throw error }
                usleep(20_000)
            }
        }
    }
}

extension RegistryError {
    fileprivate init(_ path: String, _ code: Int32) {
        let problem: Problem =
            switch code {
            case ENOENT: .directoryMissing
            case ENOSPC, EDQUOT: .diskFull
            case EIO: .inputOutput(String(cString: strerror(code)))
            default: .notWritable(String(cString: strerror(code)))
            }
        self.init(path: path, problem: problem)
    }
}
