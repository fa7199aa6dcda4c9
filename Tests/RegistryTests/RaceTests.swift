// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Registry

/// Many at once, in threads and in processes: an invite is good for one.
@Suite struct RaceTests {
    /// A thread of its own for each number, each with its own connection; what each came back with.
    static func inThreads<Result: Sendable>(
        _ count: Int, _ work: @escaping @Sendable (Int) throws -> Result
    ) async throws -> [Result] {
        try await withThrowingTaskGroup(of: Result.self) { group in
            for number in 0..<count {
                group.addTask {
                    try await withCheckedThrowingContinuation { continuation in
                        Thread.detachNewThread { continuation.resume(with: Swift.Result { try work(number) }) }
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test func manyNodesShowOneInvite() async throws {
        let fixture = try Fixture()
        let path = fixture.path
        for round in 0..<10 {
            try fixture.open().invite(round, "n\(round)")
            let admissions = try await RaceTests.inThreads(12) { number in
                try SQLiteRegistry(path: path).admit(id(100 * round + number), invite: token(round), now: now)
            }
            let winners = admissions.count { if case .admitted(_, newlyRegistered: true) = $0 { true } else { false } }
            let refused = admissions.count { $0 == .refused(.inviteUsed) }
            #expect(winners == 1, "round \(round)")
            #expect(refused == 11, "round \(round)")
        }
        #expect(try fixture.open().nodes().count == 10)
    }

    /// One node that logs in many times at once with its invite is registered once, and always admitted.
    @Test func oneNodeShowsItsInviteManyTimes() async throws {
        let fixture = try Fixture()
        let path = fixture.path
        for round in 0..<10 {
            try fixture.open().invite(round, "n\(round)")
            let admissions = try await RaceTests.inThreads(12) { _ in
                try SQLiteRegistry(path: path).admit(id(round), invite: token(round), now: now)
            }
            let new = admissions.count { if case .admitted(_, newlyRegistered: true) = $0 { true } else { false } }
            let known = admissions.count { if case .admitted(_, newlyRegistered: false) = $0 { true } else { false } }
            #expect(new == 1, "round \(round)")
            #expect(known == 11, "round \(round)")
        }
    }

    @Test func manyMakeTheRegistryAtOnce() async throws {
        for _ in 0..<5 {
            let fixture = try Fixture()
            let path = fixture.path
            _ = try await RaceTests.inThreads(8) { number in
                try SQLiteRegistry(path: path).invite(number, "n\(number)")
            }
            #expect(try fixture.open().invites().count == 8)
        }
    }

    @Test func manyWantOnePort() async throws {
        let fixture = try Fixture()
        let path = fixture.path
        let registry = try fixture.open()
        for number in 0..<8 {
            try registry.invite(number, "n\(number)")
            _ = try registry.admit(id(number), invite: token(number), now: now)
        }
        let results = try await RaceTests.inThreads(8) { number in
            try SQLiteRegistry(path: path).reserve(.tcp, port: 9_000, for: id(number), label: "", now: now)
        }
        #expect(results.count { $0 == .reserved } == 1)
        let owner = try #require(try registry.owner(of: .tcp, port: 9_000))
        #expect(results.count { $0 == .taken(by: owner) } == 7)
    }

    /// Four processes try twenty invites each in their own order: every invite has one winner, and all agree on whom.
    @Test func processesShowTheSameInvites() async throws {
        let fixture = try Fixture()
        let path = fixture.path
        let registry = try fixture.open()
        for number in 0..<20 { try registry.invite(number, "n\(number)") }
        await withTaskGroup(of: Void.self) { group in
            for process in 0..<4 {
                group.addTask {
                    await #expect(processExitsWith: .success) { [path = path as String, process = process as Int] in
                        let registry = try SQLiteRegistry(path: path)
                        var won: [String] = []
                        for number in (0..<20).shuffled() {
                            let key = id(1_000 * (process + 1) + number)
                            let admission = try registry.admit(key, invite: token(number), now: now)
                            if case .admitted(_, newlyRegistered: true) = admission { won.append("\(number)") }
                        }
                        try (won + ["end"]).joined(separator: "\n").write(
                            toFile: "\(path).won.\(process)", atomically: true, encoding: .utf8)
                    }
                }
            }
        }
        var won: [Int] = []
        for process in 0..<4 {
            let text = try String(contentsOfFile: "\(path).won.\(process)", encoding: .utf8)
            won += text.split(separator: "\n").compactMap { Int($0) }
        }
        #expect(won.sorted() == Array(0..<20))
        #expect(try registry.nodes().count == 20)
        #expect(try registry.invites().allSatisfy { $0.use != nil })
    }
}

/// kill -9 in the middle of everything.
@Suite(.serialized) struct KillTests {
    /// A process redeems invites one after the other, notes each that it was told to have, and is killed at a random
    /// moment. What it noted is registered; no invite was used twice or is used without a node; the file is whole.
    @Test func redeemingSurvivesKill() async throws {
        let seed = UInt64.random(in: 0 ... .max)
        var generator = Seeded(seed)
        let fixture = try Fixture()
        let path = fixture.path
        let total = 4_000
        do {
            let registry = try fixture.open()
            // Without waiting for the disk at each one.
            try registry.database.run("BEGIN IMMEDIATE")
            for number in 0..<total {
                try registry.database.run(
                    "INSERT INTO invites (token_digest, name, permissions, created) VALUES (?1, ?2, 'tcp:*', ?3)",
                    .blob(token(number).digest), .text("n\(number)"), .integer(now))
            }
            try registry.database.run("COMMIT")
        }
        for round in 0..<20 {
            let delay = UInt32.random(in: 0...60_000, using: &generator)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [path = path as String, delay = delay as UInt32, total = total as Int] in
                try redeem(total, in: path, untilKilledAfter: delay)
            }
            try check(fixture, total, "seed \(seed), round \(round), after \(delay) us")
        }
        #expect(try !fixture.open().nodes().isEmpty, "seed \(seed)")
    }

    private func check(_ fixture: Fixture, _ total: Int, _ comment: String) throws {
        let registry = try fixture.open()
        #expect(try registry.database.all("PRAGMA integrity_check") { $0.text(0) } == ["ok"], "\(comment)")
        #expect(try registry.database.all("PRAGMA foreign_key_check") { _ in true }.isEmpty, "\(comment)")
        let invites = try registry.invites()
        let nodes = try registry.nodes()
        #expect(invites.count == total, "\(comment)")
        #expect(Set(invites.compactMap { $0.use?.node }) == Set(nodes.map(\.id)), "\(comment)")
        #expect(invites.count { $0.use != nil } == nodes.count, "\(comment)")
        let told = try String(contentsOfFile: fixture.path + ".told", encoding: .utf8)
        for line in told.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let number = try #require(Int(line), "\(comment)")
            #expect(try registry.node(id(number)) != nil, "\(comment): \(number) was told that it is registered")
        }
    }
}

/// The child's work: goes on where the one before it was killed.
private func redeem(_ total: Int, in path: String, untilKilledAfter delay: UInt32) throws {
    let registry = try SQLiteRegistry(path: path)
    let told = open(path + ".told", O_WRONLY | O_CREAT | O_APPEND, 0o600)
    let open = try registry.invites().filter { $0.use == nil }.compactMap { Int($0.name.text.dropFirst()) }
    Thread.detachNewThread {
        usleep(delay)
        kill(getpid(), SIGKILL)
    }
    for number in open {
        guard case .admitted = try registry.admit(id(number), invite: token(number), now: now) else { exit(1) }
        let line = Array("\(number)\n".utf8)
        guard write(told, line, line.count) == line.count else { exit(1) }
    }
    // All used up before its time: the kill still comes.
    while true { pause() }
}
