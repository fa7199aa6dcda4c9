// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

/// What a session costs must not grow with the sessions that were there before it.
@Suite struct ManySessionsTests {
    @Test func interfacesAreNamedQuickly() throws {
        var interfaces = Interfaces(limit: 20_000)
        let clock = ContinuousClock()
        let began = clock.now
        for round in 0..<40_000 {
            let taken = try interfaces.take(nil, friendlyName: nil, owner: "node")
            interfaces.release(taken.luid)
            if round == 19_999 { #expect(taken.friendlyName == "Connectivity Platform Adapter #20000") }
        }
        #expect(clock.now - began < .seconds(20))
    }

    /// The smallest number that is free, also after others came between.
    @Test func numbersAreUsedAgain() throws {
        var interfaces = Interfaces(limit: 3)
        var taken = try (0..<3).map { _ in try interfaces.take(nil, friendlyName: nil, owner: "node") }
        interfaces.release(taken[1].luid)
        taken.append(try interfaces.take(nil, friendlyName: nil, owner: "node"))
        #expect(taken[3].friendlyName == "Connectivity Platform Adapter #2")
        interfaces.release(taken[0].luid)
        let named = try interfaces.take(nil, friendlyName: "Connectivity Platform Adapter #1", owner: "node")
        #expect(named.friendlyName == "Connectivity Platform Adapter #1")
        interfaces.release(named.luid)
        let last = try interfaces.take(nil, friendlyName: nil, owner: "node")
        #expect(last.friendlyName == "Connectivity Platform Adapter #1")
    }
}
