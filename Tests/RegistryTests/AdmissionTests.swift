// SPDX-License-Identifier: Apache-2.0

import Identity
import Testing

@testable import Registry

@Suite struct AdmissionTests {
    let fixture: Fixture
    let registry: SQLiteRegistry

    init() throws {
        fixture = try Fixture()
        registry = try fixture.open()
    }

    @Test func anInviteMakesANode() throws {
        let permissions = try Permissions("tcp:20000-20100,udp:53")
        try registry.invite(1, "home", permissions: permissions)
        let admission = try registry.admit(id(1), invite: token(1), now: now + 5)
        let record = NodeRecord(
            id: id(1), name: try name("home"), permissions: permissions, created: now + 5, lastSeen: now + 5)
        #expect(admission == .admitted(record, newlyRegistered: true))
        #expect(try registry.nodes() == [record])
        #expect(try registry.node(id(1)) == record)
        #expect(try registry.node(id(2)) == nil)
        #expect(try registry.invites().first?.use == InviteRecord.Use(node: id(1), at: now + 5))
    }

    @Test func aKnownNodeNeedsNoInvite() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let record = try #require(try registry.node(id(1)))
        #expect(try registry.admit(id(1), invite: nil, now: now) == .admitted(record, newlyRegistered: false))
    }

    /// agent.toml may keep the line that the node joined with, and even one that was never good.
    @Test func aKnownNodeMayShowAnyInvite() throws {
        try registry.invite(1, "home")
        try registry.invite(2, "other")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let record = try #require(try registry.node(id(1)))
        for shown in [token(1), token(2), token(99)] {
            #expect(try registry.admit(id(1), invite: shown, now: now) == .admitted(record, newlyRegistered: false))
        }
        #expect(try registry.refusal(2, invite: token(2)) == nil, "the other invite is still good")
    }

    @Test func refusals() throws {
        #expect(try registry.refusal(1, invite: nil) == .unknownNode)
        #expect(try registry.refusal(1, invite: token(1)) == .inviteUnknown)
        try registry.invite(1, "home")
        #expect(try registry.refusal(1, invite: token(2)) == .inviteUnknown)
        #expect(try registry.refusal(1, invite: token(1), at: now + 86_400 + 601) == .inviteExpired)
        #expect(try registry.refusal(1, invite: token(1)) == nil)
        #expect(try registry.refusal(2, invite: token(1)) == .inviteUsed)
        #expect(try registry.refusal(2, invite: nil) == .unknownNode)
    }

    /// Tokens that are right but for one bit are not right.
    @Test func everyBitOfATokenCounts() throws {
        try registry.invite(1, "home")
        for bit in 0..<128 {
            var bytes = token(1).bytes
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(try registry.refusal(1, invite: InviteToken(bytes: bytes)) == .inviteUnknown)
        }
        #expect(try registry.refusal(1, invite: token(1)) == nil)
    }

    @Test func aRefusalChangesNothing() throws {
        try registry.invite(1, "home")
        let before = try registry.invites()
        for number in 2..<50 { _ = try registry.refusal(number, invite: token(number)) }
        #expect(try registry.invites() == before)
        #expect(try registry.nodes().isEmpty)
    }

    @Test func descriptionsTellTheNodeWhatToDo() {
        #expect(
            RefusalReason.inviteUsed.description
                == "the invite was used by another node already: ask for one of your own")
        #expect(Set(RefusalReason.allCases.map(\.description)).count == RefusalReason.allCases.count)
    }

    // MARK: Clocks

    /// The clock when an invite that lasts a day is used, and whether it is taken.
    static let clockCases: [(Int64, Bool)] = [
        (now, true), (now + 86_400, true), (now + 87_000, true), (now + 87_001, false),
        // The relay's clock was an hour fast when the invite was made, or fell back to 1970.
        (now - 3_600, true), (0, true), (-1, true), (.min, true),
        // Past 2038, and at the end of time.
        (4_294_967_296, false), (.max, false),
    ]

    @Test(arguments: clockCases)
    func clocks(time: Int64, isTaken: Bool) throws {
        try registry.invite(1, "home")
        #expect(try registry.refusal(1, invite: token(1), at: time) == (isTaken ? nil : .inviteExpired))
    }

    /// What is over is taken for a while yet.
    @Test(arguments: [1, 300, 60_000] as [Int64]) func grace(lifetime: Int64) throws {
        let grace = InviteRecord.grace
        try registry.createInvite(
            token(1), name: name("a"), permissions: .standard, expiresAt: now + lifetime, now: now)
        let invite = try #require(try registry.invites().first)
        #expect(!invite.isOver(now: now + lifetime) && invite.isOver(now: now + lifetime + 1))
        #expect(!invite.isExpired(now: now + lifetime + grace) && invite.isExpired(now: now + lifetime + grace + 1))
    }

    @Test(arguments: [Int64.max, Int64.max - 600]) func anEndFarAwayIsNoTrap(expiry: Int64) throws {
        try registry.createInvite(token(1), name: name("a"), permissions: .standard, expiresAt: expiry, now: now)
        #expect(try registry.refusal(1, invite: token(1), at: .max) == nil)
    }

    @Test func anInviteWithoutAnEnd() throws {
        try registry.createInvite(token(1), name: name("a"), permissions: .standard, expiresAt: nil, now: now)
        #expect(try registry.invites().first?.expiresAt == nil)
        #expect(try registry.refusal(1, invite: token(1), at: now + 1_000_000_000) == nil)
    }

    @Test func aKnownNodeIsAdmittedWhateverTheClockSays() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        for time in [Int64.min, -1, 0, now - 3_600, now + 3_600, 4_294_967_296, .max] {
            #expect(try registry.refusal(1, invite: token(1), at: time) == nil)
        }
    }

    /// Last seen: at most once a minute, in either direction of a clock.
    @Test func lastSeenIsWrittenOnceAMinute() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let steps: [(Int64, Int64)] = [
            (now + 59, now), (now + 60, now + 60), (now + 61, now + 60), (now + 1, now + 60), (now, now),
            (0, 0), (.max, .max), (.min, .min), (now, now),
        ]
        for (time, stored) in steps {
            registry.noteSeen(id(1), now: time)
            #expect(try registry.node(id(1))?.lastSeen == stored)
        }
        _ = try registry.admit(id(1), invite: nil, now: now + 500)
        #expect(try registry.node(id(1))?.lastSeen == now + 500)
        registry.noteSeen(id(2), now: now)
        #expect(registry.lastSeenFailure == nil)
    }
}
