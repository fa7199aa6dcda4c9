// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import Registry

/// A registry's file that lost its end, or has wrong bytes in it: an error or an answer, never a crash, never a node that
/// nobody registered.
@Suite struct DamageTests {
    let fixture: Fixture
    let whole: [UInt8]

    init() throws {
        fixture = try Fixture()
        let registry = try fixture.open()
        for number in 0..<40 {
            try registry.invite(number, "node-\(number)")
            if number % 2 == 0 { _ = try registry.admit(id(number), invite: token(number), now: now) }
        }
        _ = try registry.reserve(.tcp, port: 5_000, for: id(0), label: "ssh", now: now)
        // Back from the log into the file.
        try registry.database.runOnce("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = Array(try Data(contentsOf: URL(filePath: fixture.path)))
    }

    /// Everything that can be asked of a registry with this content.
    func use(_ content: [UInt8], _ comment: String) throws {
        let damaged = try Fixture()
        try Data(content).write(to: URL(filePath: damaged.path))
        do {
            let registry = try damaged.open()
            let known = Set(stride(from: 0, to: 40, by: 2).map { id($0) })
            for record in try registry.nodes() { #expect(known.contains(record.id), "\(comment)") }
            #expect(try registry.refusal(1_000, invite: token(1_000)) == .inviteUnknown, "\(comment)")
            _ = try registry.invites()
            _ = try registry.reservations(of: id(0))
            _ = try registry.admit(id(1), invite: token(1), now: now)
            _ = try registry.remove(name("node-3"), now: now)
            try registry.invite(2_000, "new")
        } catch let error as RegistryError {
            #expect(error.path == damaged.path)
        }
    }

    @Test func everyPageBoundaryAndTheBytesAroundIt() throws {
        var lengths = Set([1, 15, 16, 17, 99, 100, 101])
        for page in stride(from: 512, to: whole.count, by: 512) {
            lengths.formUnion([page - 1, page, page + 1])
        }
        for length in lengths.sorted() { try use(Array(whole.prefix(length)), "cut after \(length)") }
    }

    /// What is shorter than it says is told when it is opened.
    @Test func aFileThatLostPagesIsDamaged() throws {
        for pages in 1..<whole.count / 4_096 {
            try Data(whole.prefix(pages * 4_096)).write(to: URL(filePath: fixture.path))
            guard case .damaged = problem({ _ = try fixture.open() }) else {
                Issue.record("\(pages) of \(whole.count / 4_096) pages")
                continue
            }
        }
    }

    @Test func changedBytes() throws {
        let seed = UInt64.random(in: 0 ... .max)
        var generator = Seeded(seed)
        for round in 0..<200 {
            var content = whole
            for _ in 0..<Int.random(in: 1...20, using: &generator) {
                content[Int.random(in: 0..<content.count, using: &generator)] ^= UInt8.random(
                    in: 1...255, using: &generator)
            }
            try use(content, "seed \(seed), round \(round)")
        }
    }
}

/// SplitMix64: the same numbers for the same seed.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
