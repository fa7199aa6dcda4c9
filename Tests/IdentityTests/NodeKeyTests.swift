// SPDX-License-Identifier: Apache-2.0

import Cryptography
import Foundation
import Testing

@testable import Identity

@Suite struct NodeKeyTests {
    /// A directory of its own for each test, gone afterwards.
    final class Directory {
        let path = FileManager.default.temporaryDirectory.appending(path: "node-key-\(UUID())").path
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(atPath: path) }
        var key: String { path + "/node.key" }
    }

    func error(_ path: String) -> NodeKeyError? {
        do {
            _ = try NodeKey.load(path)
            return nil
        } catch { return error }
    }

    @Test func isMadeOnceAndThenRead() throws {
        let directory = try Directory()
        let first = try NodeKey.loadOrCreate(directory.key)
        let second = try NodeKey.loadOrCreate(directory.key)
        #expect(first.id == second.id)
        #expect(try NodeKey.load(directory.key).id == first.id)
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.key)
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["node.key"])
    }

    @Test func changesOfTheFileAreTold() throws {
        let directory = try Directory()
        let key = try NodeKey.loadOrCreate(directory.key)
        let manager = FileManager.default
        #expect(key.change(in: directory.key) == nil)
        let whole = try #require(manager.contents(atPath: directory.key))
        try whole.prefix(40).write(to: URL(filePath: directory.key))
        #expect(key.change(in: directory.key)?.problem != nil)
        #expect(key.change(in: directory.key)?.description.contains("would not start again") == true)
        try manager.removeItem(atPath: directory.key)
        #expect(key.change(in: directory.key) == .missing)
        let other = try NodeKey.loadOrCreate(directory.key)
        #expect(key.change(in: directory.key) == .otherKey(other.id))
        #expect(KeyFileChange.otherKey(other.id).description.contains(other.id.description))
        try manager.setAttributes([.posixPermissions: 0o644], ofItemAtPath: directory.key)
        #expect(key.change(in: directory.key)?.problem?.description.contains("chmod 600") == true)
    }

    @Test func manyAtOnceGetTheSame() async throws {
        let directory = try Directory()
        let path = directory.key
        let ids = try await withThrowingTaskGroup(of: NodeID.self) { group in
            for _ in 0..<16 { group.addTask { try NodeKey.loadOrCreate(path).id } }
            return try await group.reduce(into: Set<NodeID>()) { $0.insert($1) }
        }
        #expect(ids.count == 1)
    }

    @Test func opensslReadsIt() throws {
        let directory = try Directory()
        let key = try NodeKey.loadOrCreate(directory.key)
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl") else { return }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = ["pkey", "-in", directory.key, "-pubout", "-outform", "DER"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(NodeID(subjectPublicKeyInfoDER: Array(output)) == key.id)
    }

    @Test func isNotOverwritten() throws {
        let directory = try Directory()
        let key = try NodeKey.loadOrCreate(directory.key)
        #expect(throws: NodeKeyError.file(SecretFileError(path: directory.key, problem: .alreadyExists))) {
            try NodeKey.generate().save(directory.key)
        }
        #expect(try NodeKey.load(directory.key).id == key.id)
    }

    /// A file that was cut at any place is told as such, and never replaced by a fresh key.
    @Test func everyTruncationIsAnError() throws {
        let directory = try Directory()
        let pem = NodeKey.generate().privateKey.pem
        for count in 0..<pem.utf8.count - 1 {
            try? FileManager.default.removeItem(atPath: directory.key)
            try SecretFile.create(directory.key, Array(pem.utf8.prefix(count)))
            #expect(throws: NodeKeyError.self) { try NodeKey.loadOrCreate(directory.key) }
        }
    }

    @Test func errorsSayWhatIsWrong() throws {
        let directory = try Directory()
        #expect(error(directory.key)?.description == "\(directory.key): there is no such file")
        try SecretFile.create(directory.key, Array("hello".utf8))
        #expect(error(directory.key) == .content(path: directory.key, .notPEM))
        #expect(error(directory.key)?.description.hasPrefix("\(directory.key): it holds no key in PEM form") == true)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: directory.key)
        #expect(error(directory.key) == .file(SecretFileError(path: directory.key, problem: .readableByOthers(0o644))))
        let missing = SecretFileError(path: directory.path + "/no/node.key", problem: .directoryMissing)
        #expect(throws: NodeKeyError.file(missing)) { try NodeKey.loadOrCreate(directory.path + "/no/node.key") }
    }

    @Test func contentThatIsNoTextIsNoKey() throws {
        let directory = try Directory()
        try SecretFile.create(directory.key, [0xFF, 0xFE, 0, 1, 2])
        #expect(error(directory.key) == .content(path: directory.key, .notPEM))
    }

    @Test func certificateCarriesTheNodesKey() throws {
        let key = NodeKey.generate()
        let certificate = NodeCertificate(key).der
        #expect(certificate == NodeCertificate(key).der)
        let spki = key.privateKey.subjectPublicKeyInfoDER
        #expect((0..<certificate.count - spki.count).contains { certificate[$0...].starts(with: spki) })
    }

    @Test func descriptionIsThePublicSide() {
        let key = NodeKey.generate()
        #expect("\(key)" == key.id.description)
    }
}
