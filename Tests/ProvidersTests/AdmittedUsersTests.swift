// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import Testing

@testable import Providers

@Suite struct AdmittedUsersTests {
    private func admitted(_ sddl: String) throws -> AdmittedUsers? {
        AdmittedUsers(try ProviderDoor.allowedUsers(sddl))
    }

    /// Every Linux host has root, in the group root, and daemon, in the group daemon (LSB).
    @Test(
        "who is admitted by what",
        arguments: [
            ("root", [0], [1, 7, 54_321]), ("54321", [54_321], [0, 1]), ("daemon, 7", [1, 7], [0, 54_321]),
            ("%root", [0], [1, 54_321]), ("%daemon,54321", [1, 54_321], [0, 7]), ("*", [0, 1, 54_321], []),
            ("root,*", [0, 54_321], []),
        ] as [(String, [UInt32], [UInt32])])
    func lists(_ sddl: String, _ inside: [UInt32], _ outside: [UInt32]) throws {
        let users = try #require(try admitted(sddl))
        for user in inside { #expect(users.admits(.user(user)), "\(sddl) \(user)") }
        for user in outside { #expect(!users.admits(.user(user)), "\(sddl) \(user)") }
        #expect(users.admits(.anybody) == sddl.contains("*"))
    }

    @Test(arguments: ["", ",", "root,", "%", " "]) func emptyNames(_ sddl: String) throws {
        #expect(throws: ProviderDoor.Refusal.self) { try ProviderDoor.allowedUsers(sddl) }
    }

    @Test(arguments: ["nosuchuser", "%nosuchgroup", "root,nosuchuser", "%*"]) func strangers(_ sddl: String) throws {
        #expect(try admitted(sddl) == nil)
    }

    /// In a user namespace it may be anybody's number.
    @Test func nobodyKnownIsNobody() throws {
        #expect(try admitted("65534")?.admits(.user(65_534)) == false)
        #expect(try admitted("*")?.admits(.user(65_534)) == true)
    }

    @Test func withoutAnSddlItIsTheUserWhoRegisters() {
        let users = AdmittedUsers(user: 7)
        #expect(users.admits(.user(7)) && !users.admits(.user(0)) && !users.admits(.anybody))
    }
}
