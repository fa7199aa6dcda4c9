// SPDX-License-Identifier: Apache-2.0

import Identity
import Testing

@testable import Registry

/// What the command line does: invites, names, removal.
@Suite struct ManagementTests {
    let fixture: Fixture
    let registry: SQLiteRegistry

    init() throws {
        fixture = try Fixture()
        registry = try fixture.open()
    }

    @Test func namesAreUnique() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let error = RegistryError(path: fixture.path, problem: .nameTaken(try name("home")))
        #expect(throws: error) { try registry.invite(2, "home") }
        #expect(error.description.hasSuffix("or remove it first: natfwt nodes remove home"))
    }

    @Test func aNewInviteReplacesTheOpenOneOfItsName() throws {
        let first = try registry.createInvite(
            token(1), name: name("home"), permissions: .standard, expiresAt: nil, now: now)
        let second = try registry.createInvite(
            token(2), name: name("home"), permissions: .standard, expiresAt: nil, now: now)
        #expect(!first)
        #expect(second)
        #expect(try registry.refusal(1, invite: token(1)) == .inviteUnknown)
        #expect(try registry.refusal(1, invite: token(2)) == nil)
        #expect(try registry.invites().count == 1)
    }

    @Test func oneTokenIsNeverTwoInvites() throws {
        try registry.invite(1, "a")
        #expect(throws: RegistryError.self) { try registry.invite(1, "b") }
        #expect(try registry.invites().map { $0.name.text } == ["a"])
    }

    @Test func listsAreInOrder() throws {
        for (number, text) in ["c", "a", "b"].enumerated() {
            try registry.createInvite(
                token(number), name: name(text), permissions: .standard, expiresAt: nil, now: now + Int64(number))
            _ = try registry.admit(id(number), invite: token(number), now: now)
        }
        #expect(try registry.nodes().map { $0.name.text } == ["a", "b", "c"])
        #expect(try registry.invites().map { $0.name.text } == ["c", "a", "b"])
    }

    @Test func permissionsOfANodeAreChanged() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let other = try fixture.open()
        #expect(try !registry.hasChangedElsewhere())
        let changed = try other.changePermissions(of: name("home")) { $0.egress = true }
        #expect(changed == Permissions(expose: Permissions.standard.expose, egress: true))
        #expect(try registry.hasChangedElsewhere())
        #expect(try registry.node(id(1))?.permissions == changed)
        try other.changePermissions(of: name("home")) { $0 = Permissions(expose: []) }
        #expect(try registry.node(id(1))?.permissions == Permissions(expose: []))
    }

    @Test func permissionsOfAnOpenInviteAreChanged() throws {
        try registry.invite(1, "home")
        try registry.invite(2, "other")
        try registry.changePermissions(of: name("home")) { $0.egress = true }
        _ = try registry.admit(id(1), invite: token(1), now: now)
        _ = try registry.admit(id(2), invite: token(2), now: now)
        #expect(try registry.nodes().map(\.permissions.egress) == [true, false])
    }

    @Test func permissionsOfNobodyAreNotChanged() throws {
        let error = RegistryError(path: fixture.path, problem: .unknownName(try name("nobody")))
        #expect(throws: error) { try registry.changePermissions(of: name("nobody")) { $0.egress = true } }
    }

    @Test func aRemovedNodeIsRevoked() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let record = try #require(try registry.node(id(1)))
        #expect(try registry.remove(name("home"), now: now) == .node(record))
        #expect(try registry.nodes().isEmpty)
        // Neither its key nor the invite that it joined with opens the door again, nor somebody else's.
        #expect(try registry.refusal(1, invite: nil) == .revoked)
        #expect(try registry.refusal(1, invite: token(1)) == .revoked)
        #expect(try registry.refusal(1, invite: token(7)) == .revoked)
        #expect(try registry.refusal(2, invite: token(1)) == .inviteUsed)
    }

    @Test func aRemovedNodeCanBeInvitedAgain() throws {
        try registry.invite(1, "home")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        try registry.remove(name("home"), now: now)
        try registry.invite(2, "home")
        #expect(try registry.refusal(1, invite: token(2)) == nil)
        #expect(try registry.refusal(1, invite: nil) == nil)
        try registry.remove(name("home"), now: now)
        #expect(try registry.refusal(1, invite: nil) == .revoked)
    }

    @Test func anOpenInviteCanBeWithdrawn() throws {
        try registry.invite(1, "home")
        guard case .invite(let record) = try registry.remove(name("home"), now: now) else {
            Issue.record("expected an invite")
            return
        }
        #expect(record.name.text == "home")
        #expect(try registry.refusal(1, invite: token(1)) == .inviteUnknown)
        let error = RegistryError(path: fixture.path, problem: .unknownName(try name("home")))
        #expect(throws: error) { try registry.remove(name("home"), now: now) }
    }

    /// A relay learns that the command line has changed something.
    @Test func changesElsewhereAreNoticed() throws {
        let other = try fixture.open()
        #expect(try !registry.hasChangedElsewhere())
        try registry.invite(1, "mine")
        #expect(try !registry.hasChangedElsewhere(), "one's own changes are known")
        try other.invite(2, "theirs")
        #expect(try registry.hasChangedElsewhere())
        #expect(try !registry.hasChangedElsewhere())
        _ = try other.nodes()
        #expect(try !registry.hasChangedElsewhere())
    }

    // MARK: Reservations

    @Test func reservationsAreKept() throws {
        try registry.invite(1, "a")
        try registry.invite(2, "b")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        _ = try registry.admit(id(2), invite: token(2), now: now)
        #expect(try registry.reserve(.tcp, port: 20_000, for: id(1), label: "ssh", now: now) == .reserved)
        #expect(try registry.reserve(.udp, port: 20_000, for: id(2), label: "dns", now: now) == .reserved)
        #expect(try registry.reserve(.tcp, port: 20_000, for: id(2), label: "x", now: now) == .taken(by: id(1)))
        #expect(try registry.reserve(.tcp, port: 20_001, for: id(1), label: "web", now: now + 7_200) == .reserved)
        let again = try fixture.open()
        #expect(try again.reservations(of: id(1)).map(\.port) == [20_001, 20_000])
        #expect(try again.reservations(of: id(1)).map(\.label) == ["web", "ssh"])
        #expect(try again.owner(of: .udp, port: 20_000) == id(2))
        #expect(try again.owner(of: .udp, port: 20_001) == nil)
    }

    @Test func aReservationIsWrittenAgainOnlyWhereItChanged() throws {
        try registry.invite(1, "a")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        let watcher = try fixture.open()
        func changed(_ label: String, _ time: Int64) throws -> Bool {
            #expect(try registry.reserve(.tcp, port: 5_000, for: id(1), label: label, now: time) == .reserved)
            return try watcher.hasChangedElsewhere()
        }
        #expect(try changed("a", now))
        #expect(try !changed("a", now + 3_599))
        #expect(try changed("a", now + 3_600))
        #expect(try changed("b", now + 3_600))
        #expect(try changed("b", now - 3_600))
        #expect(try registry.reservations(of: id(1)).count == 1)
    }

    @Test func onlyTheOwnerReleases() throws {
        try registry.invite(1, "a")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        _ = try registry.reserve(.tcp, port: 5_000, for: id(1), label: "", now: now)
        try registry.release(.tcp, port: 5_000, by: id(2))
        #expect(try registry.owner(of: .tcp, port: 5_000) == id(1))
        try registry.release(.udp, port: 5_000, by: id(1))
        #expect(try registry.owner(of: .tcp, port: 5_000) == id(1))
        try registry.release(.tcp, port: 5_000, by: id(1))
        #expect(try registry.owner(of: .tcp, port: 5_000) == nil)
    }

    @Test func reservationsGoWithTheirNode() throws {
        try registry.invite(1, "a")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        _ = try registry.reserve(.tcp, port: 5_000, for: id(1), label: "", now: now)
        try registry.remove(name("a"), now: now)
        #expect(try registry.owner(of: .tcp, port: 5_000) == nil)
    }

    @Test func nothingIsReservedForStrangers() throws {
        let error = RegistryError(path: fixture.path, problem: .unknownNode(id(1)))
        #expect(throws: error) { try registry.reserve(.tcp, port: 5_000, for: id(1), label: "", now: now) }
    }

    @Test func impossiblePortsAreErrors() throws {
        try registry.invite(1, "a")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        #expect(throws: RegistryError.self) { try registry.reserve(.tcp, port: 0, for: id(1), label: "", now: now) }
        #expect(try registry.reserve(.tcp, port: 65_535, for: id(1), label: "", now: now) == .reserved)
    }

    @Test func labelsAreBounded() throws {
        try registry.invite(1, "a")
        _ = try registry.admit(id(1), invite: token(1), now: now)
        for label in [String(repeating: "é", count: 5_000), "a\0b", "'; DROP TABLE nodes; --"] {
            #expect(try registry.reserve(.tcp, port: 5_000, for: id(1), label: label, now: now) == .reserved)
            #expect(try registry.reserve(.tcp, port: 5_000, for: id(1), label: label, now: now) == .reserved)
            #expect(try (registry.reservations(of: id(1)).first?.label.utf8.count ?? 0) <= 100)
        }
        #expect(try registry.nodes().count == 1)
    }
}
