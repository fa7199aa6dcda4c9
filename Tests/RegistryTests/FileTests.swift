// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Registry

/// The file: its rights, and what is said when it can't be used.
@Suite struct FileTests {
    @Test func everyFileIsForTheOwnerOnly() throws {
        let fixture = try Fixture()
        let before = umask(0)
        defer { umask(before) }
        let registry = try fixture.open()
        try registry.invite(1, "home")
        #expect(fixture.names == ["registry.db", "registry.db-shm", "registry.db-wal"])
        for name in fixture.names { #expect(try fixture.mode(name) == 0o600, "\(name)") }
    }

    @Test func rightsFromABackupAreTightened() throws {
        let fixture = try Fixture()
        _ = try fixture.open()
        try FileManager.default.setAttributes([.posixPermissions: 0o664], ofItemAtPath: fixture.path)
        _ = try fixture.open()
        #expect(try fixture.mode("registry.db") == 0o600)
    }

    @Test func tokensAreNotInTheFile() throws {
        let fixture = try Fixture()
        try fixture.open().invite(1, "home")
        let content = try Data(contentsOf: URL(filePath: fixture.path))
        #expect(content.firstRange(of: Data(token(1).bytes)) == nil)
        #expect(content.firstRange(of: Data(token(1).digest)) != nil)
    }

    @Test func aClosedRegistryIsOneFile() throws {
        let fixture = try Fixture()
        try fixture.open().invite(1, "home")
        #expect(fixture.names == ["registry.db"])
        #expect(try fixture.open().invites().count == 1)
    }

    @Test func connectionsLeaveNoDescriptorsBehind() throws {
        let fixture = try Fixture()
        func descriptors() throws -> Int {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
                .filter {
                    (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?.hasPrefix(
                        fixture.directory) == true
                }
                .count
        }
        for number in 0..<20 { try fixture.open().invite(number, "n\(number)") }
        #expect(try descriptors() == 0)
    }

    @Test func whatCannotBeOpenedIsToldApart() throws {
        let fixture = try Fixture()
        #expect(problem { _ = try SQLiteRegistry(path: fixture.directory + "/no/registry.db") } == .directoryMissing)
        #expect(problem { _ = try SQLiteRegistry(path: fixture.directory) } == .notAFile)
        try FileManager.default.createSymbolicLink(atPath: fixture.path, withDestinationPath: "/etc/passwd")
        #expect(problem { _ = try fixture.open() } == .notAFile)
        #expect(problem { _ = try SQLiteRegistry(path: "/dev/null") } == .notAFile)
        guard case .notWritable = problem({ _ = try SQLiteRegistry(path: "/sys/registry.db") }) else {
            Issue.record("expected a directory that can't be written to")
            return
        }
    }

    @Test(arguments: ["hello", String(repeating: "x", count: 100_000), "SQLite format 3\0"])
    func whatIsNoDatabaseIsDamaged(content: String) throws {
        let fixture = try Fixture()
        try Data(content.utf8).write(to: URL(filePath: fixture.path))
        guard case .damaged = problem({ _ = try fixture.open() }) else {
            Issue.record("expected damage")
            return
        }
        #expect(try Data(contentsOf: URL(filePath: fixture.path)) == Data(content.utf8), "left as it was")
    }

    @Test func anotherProgramsDatabaseIsLeftAlone() throws {
        let fixture = try Fixture()
        try Data().write(to: URL(filePath: fixture.path))
        try Database(path: fixture.path).runOnce("CREATE TABLE theirs (a)")
        #expect(problem { _ = try fixture.open() } == .notARegistry)
        try Database(path: fixture.path).runOnce("PRAGMA application_id = 77")
        #expect(problem { _ = try fixture.open() } == .notARegistry)
    }

    @Test func aNewerSchemaIsRefused() throws {
        let fixture = try Fixture()
        try fixture.open().database.runOnce("PRAGMA user_version = 1000")
        let expected = RegistryError(path: fixture.path, problem: .newerSchema(found: 1000, supported: 1))
        #expect(throws: expected) { _ = try fixture.open() }
        #expect(expected.description.contains("written by a newer natfwt (schema 1000, this one knows 1)"))
    }

    /// A registry of version 1 that a later natfwt with one more step opens.
    @Test func anOlderSchemaIsBroughtUpToDate() throws {
        let fixture = try Fixture()
        let registry = try fixture.open()
        try registry.invite(1, "home")
        let later =
            Schema.steps + [["ALTER TABLE nodes ADD COLUMN remark TEXT", "CREATE TABLE more (a INTEGER) STRICT"]]
        try Schema.migrate(registry.database, steps: later)
        #expect(try registry.database.pragma("user_version") == 2)
        try Schema.migrate(registry.database, steps: later)
        #expect(try registry.invites().count == 1)
        #expect(try registry.database.all("SELECT a FROM more") { $0.integer(0) }.isEmpty)
    }

    @Test func aStepThatFailsChangesNothing() throws {
        let fixture = try Fixture()
        let registry = try fixture.open()
        let broken = Schema.steps + [["CREATE TABLE more (a INTEGER) STRICT", "this is no SQL"]]
        #expect(throws: RegistryError.self) { try Schema.migrate(registry.database, steps: broken) }
        #expect(try registry.database.pragma("user_version") == 1)
        #expect(try registry.database.all("SELECT name FROM sqlite_schema WHERE name = 'more'") { $0.text(0) }.isEmpty)
        try registry.invite(1, "home")
    }

    /// Nothing is half-done where the disk is full: the invite is there whole or not at all, and what was there stays.
    @Test func aFullDisk() throws {
        let fixture = try Fixture()
        let pages = Int(try fixture.open().database.pragma("page_count"))
        let registry = try SQLiteRegistry(RegistryFile.open(fixture.path, pageLimit: pages + 2))
        var made = 0
        let met = problem {
            for number in 0..<10_000 {
                try registry.invite(number, "n\(number)")
                made += 1
            }
        }
        #expect(met == .diskFull)
        #expect(made > 0)
        #expect(try registry.invites().count == made)
        #expect(try registry.refusal(1, invite: nil) == .unknownNode)
        #expect(RegistryError(path: "x", problem: .diskFull).description.contains("free some space"))
    }

    /// A node that is known is admitted even where nothing can be written any more.
    @Test func aKnownNodeIsAdmittedWhereNothingCanBeWritten() throws {
        let fixture = try Fixture()
        let registry = try fixture.open()
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        try registry.database.runOnce("PRAGMA query_only = ON")
        #expect(try registry.refusal(1, invite: nil, at: now + 1_000) == nil)
        #expect(registry.lastSeenFailure != nil)
        #expect(throws: RegistryError.self) { try registry.invite(2, "other") }
    }

    /// Another process holds the write lock: a login does not wait for it.
    @Test func aLoginDoesNotWaitForAWriter() throws {
        let fixture = try Fixture()
        let registry = try fixture.open()
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let writer = try fixture.open()
        try writer.database.run("BEGIN IMMEDIATE")
        let start = ContinuousClock.now
        #expect(try registry.refusal(1, invite: nil, at: now + 1_000) == nil)
        #expect(ContinuousClock.now - start < .seconds(2))
        #expect(registry.lastSeenFailure == nil)
        try writer.database.run("COMMIT")
        #expect(try registry.refusal(1, invite: nil, at: now + 1_000) == nil)
        #expect(try writer.node(id(1))?.lastSeen == now + 1_000)
    }
}
