// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Cryptography

@Suite struct SecretFileTests {
    /// A directory of its own for each test, gone afterwards.
    final class Directory {
        let path = FileManager.default.temporaryDirectory.appending(path: "secret-\(UUID())").path
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(atPath: path) }
        subscript(name: String) -> String { "\(path)/\(name)" }
        var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
    }

    func problem(_ work: () throws -> Void) -> SecretFileError.Problem? {
        do {
            try work()
            return nil
        } catch {
            return (error as? SecretFileError)?.problem
        }
    }

    func mode(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return (attributes[.posixPermissions] as? NSNumber)?.intValue ?? -1
    }

    @Test func isMadeForTheOwnerOnlyAndReadBack() throws {
        let directory = try Directory()
        try SecretFile.create(directory["a"], [1, 2, 3])
        #expect(try mode(directory["a"]) == 0o600)
        #expect(try SecretFile.read(directory["a"]) == [1, 2, 3])
        #expect(directory.names == ["a"])
    }

    /// What root changes for a service stays the service's, and what it makes in the service's folder becomes that.
    @Test(.enabled(if: geteuid() == 0, "needs root")) func staysItsOwners() throws {
        let directory = try Directory()
        let service = 61_234
        func owner(_ name: String) throws -> Int {
            let attributes = try FileManager.default.attributesOfItem(atPath: directory[name])
            return (attributes[.ownerAccountID] as? NSNumber)?.intValue ?? -1
        }
        try SecretFile.create(directory["mine"], [1])
        #expect(try owner("mine") == 0)
        #expect(chown(directory["mine"], uid_t(service), gid_t(service)) == 0)
        try SecretFile.replace(directory["mine"], [2])
        #expect(try owner("mine") == service)
        #expect(chown(directory.path, uid_t(service), gid_t(service)) == 0)
        try SecretFile.create(directory["new"], [3])
        #expect(try owner("new") == service)
        #expect(try mode(directory["new"]) == 0o600)
    }

    @Test func isNeverReplaced() throws {
        let directory = try Directory()
        try SecretFile.create(directory["a"], [1])
        #expect(problem { try SecretFile.create(directory["a"], [2]) } == .alreadyExists)
        #expect(try SecretFile.read(directory["a"]) == [1])
        try FileManager.default.createSymbolicLink(atPath: directory["link"], withDestinationPath: directory["b"])
        #expect(problem { try SecretFile.create(directory["link"], [2]) } == .alreadyExists)
        #expect(directory.names == ["a", "link"])
    }

    @Test(arguments: [0o640, 0o604, 0o644, 0o620, 0o777]) func isRefusedWhereOthersMayReadIt(mode: Int) throws {
        let directory = try Directory()
        try SecretFile.create(directory["a"], [1])
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: directory["a"])
        #expect(problem { _ = try SecretFile.read(directory["a"]) } == .readableByOthers(UInt32(mode)))
    }

    @Test(arguments: [0o400, 0o600, 0o700]) func isReadWhereOnlyTheOwnerMay(mode: Int) throws {
        let directory = try Directory()
        try SecretFile.create(directory["a"], [1])
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: directory["a"])
        #expect(try SecretFile.read(directory["a"]) == [1])
    }

    @Test func whatIsNoFileIsToldApart() throws {
        let directory = try Directory()
        #expect(problem { _ = try SecretFile.read(directory["none"]) } == .missing)
        #expect(problem { _ = try SecretFile.read(directory.path) } == .notAFile)
        #expect(problem { _ = try SecretFile.read("/dev/zero") } == .notAFile)
        #expect(mkfifo(directory["pipe"], 0o600) == 0)
        #expect(problem { _ = try SecretFile.read(directory["pipe"]) } == .notAFile)
        #expect(problem { try SecretFile.create(directory["no/such/a"], [1]) } == .directoryMissing)
        try SecretFile.create(directory["a"], [1])
        let below = problem { try SecretFile.create(directory["a/b"], [1]) }
        #expect(below == .system(operation: "make", code: ENOTDIR))
    }

    @Test func isBounded() throws {
        let directory = try Directory()
        try SecretFile.create(directory["a"], [UInt8](repeating: 1, count: 101))
        #expect(problem { _ = try SecretFile.read(directory["a"], atMost: 100) } == .tooLarge(maximum: 100))
        #expect(try SecretFile.read(directory["a"], atMost: 101).count == 101)
        try SecretFile.create(directory["empty"], [])
        #expect(try SecretFile.read(directory["empty"], atMost: 0).isEmpty)
    }

    @Test func messagesNameThePathAndWhatToDo() {
        let error = SecretFileError(path: "/x/node.key", problem: .readableByOthers(0o644))
        #expect(error.description == "/x/node.key: other users may read it (mode 644); run: chmod 600 /x/node.key")
    }
}
