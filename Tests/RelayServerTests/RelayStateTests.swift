// SPDX-License-Identifier: Apache-2.0

import Administration
import Foundation
import Identity
import Registry
import RelayServer
import TestSupport
import Testing

@Suite("What a relay must not lose") struct RelayStateTests {
    @Test func isMadeOnceAndFoundAgain() throws {
        let folder = try TemporaryFolder()
        let made = try RelayState(directory: folder.path)
        #expect(try RelayState(directory: folder.path).key.id == made.key.id)
    }

    @Test func aKeyThatNodesHavePinnedIsNotMadeAnew() throws {
        let folder = try TemporaryFolder()
        let made = try RelayState(directory: folder.path)
        let key = "\(folder.path)/\(RelayServer.keyFile)"
        // Without nodes nobody misses it.
        try FileManager.default.removeItem(atPath: key)
        #expect(try RelayState(directory: folder.path).key.id != made.key.id)
        var random = SystemRandomNumberGenerator()
        let token = InviteToken(using: &random)
        try made.registry.createInvite(
            token, name: NodeName("home"), permissions: .standard, expiresAt: 2_000, now: 1_000)
        _ = try made.registry.admit(NodeKey.generate().id, invite: token, now: 1_001)
        try FileManager.default.removeItem(atPath: key)
        let failure = #expect(throws: StartFailure.self) { try RelayState(directory: folder.path) }
        #expect(failure?.status == .configuration)
        #expect(failure?.message.contains("knows 1 node") == true, "\(failure?.message ?? "")")
        #expect(!FileManager.default.fileExists(atPath: key))
    }
}
