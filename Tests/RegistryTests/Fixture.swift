// SPDX-License-Identifier: Apache-2.0

import Foundation
import Identity
import Registry

/// A registry in a directory of its own, gone afterwards.
final class Fixture {
    let directory = FileManager.default.temporaryDirectory.appending(path: "registry-\(UUID())").path
    var path: String { directory + "/" + SQLiteRegistry.fileName }

    init() throws { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func open() throws(RegistryError) -> SQLiteRegistry { try SQLiteRegistry(path: path) }

    /// The permission bits of a file in the directory.
    func mode(_ name: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: directory + "/" + name)
        return (attributes[.posixPermissions] as? NSNumber)?.intValue ?? -1
    }

    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).sorted() }
}

/// A node's ID that is the same each time for the same number.
func id(_ number: Int) -> NodeID { NodeID(subjectPublicKeyInfoDER: Array("node \(number)".utf8)) }

/// A token that is the same each time for the same number.
func token(_ number: Int) -> InviteToken {
    var generator = Counter(value: UInt64(number) << 8)
    return InviteToken(using: &generator)
}

func name(_ text: String) throws -> NodeName { try NodeName(text) }

private struct Counter: RandomNumberGenerator {
    var value: UInt64
    mutating func next() -> UInt64 {
        value += 1
        return value
    }
}

/// A day in 2026 that the tests call now.
let now: Int64 = 1_780_000_000

extension NodeRegistry {
    /// An invite that lasts for a day, for any unprivileged port.
    func invite(_ number: Int, _ text: String, permissions: Permissions = .standard) throws {
        try createInvite(
            token(number), name: name(text), permissions: permissions, expiresAt: now + 86_400, now: now)
    }

    func refusal(_ number: Int, invite: InviteToken?, at time: Int64 = now) throws -> RefusalReason? {
        guard case .refused(let reason) = try admit(id(number), invite: invite, now: time) else { return nil }
        return reason
    }
}

/// The problem that `work` meets.
func problem(_ work: () throws -> Void) -> RegistryError.Problem? {
    do {
        try work()
        return nil
    } catch {
        return (error as? RegistryError)?.problem
    }
}
