// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// REACHED (tunnel protocol, "Tunnels between nodes"): what a relay says of a node.
@Suite struct ReachTests {
    private static let key = [UInt8](repeating: 7, count: 32)

    @Test(arguments: 0..<8 as Range<UInt8>)
    func arrivesAsItWasSent(flags: UInt8) throws {
        let pair = try TunnelPair()
        var answer = ReachAnswer(id: 9, state: .away, key: Self.key, name: "home", isFollowed: flags & 1 != 0)
        answer.mayBeReached = flags & 2 == 0
        answer.mayReach = flags & 4 == 0
        pair.acceptor.tunnel.answer(answer)
        let bytes = pair.acceptor.output(now: pair.now)
        #expect(bytes[8...].prefix(6) == [0, 0, 0, 9, flags, 1])
        try pair.dialer.input(bytes, now: pair.now)
        #expect(pair.dialer.reached == [answer])
    }

    /// Flags that a later version defines.
    @Test func otherFlagsAreIgnored() throws {
        let pair = try TunnelPair()
        try pair.dialer.input(HostileTunnelTests.frame(16, [0, 0, 0, 1, 0xF8, 0, 0, 0, 0]), now: pair.now)
        #expect(pair.dialer.reached == [ReachAnswer(id: 1, state: .unknown)])
    }

    @Test func aNoticeIsAnAnswerToNothing() throws {
        let pair = try TunnelPair()
        pair.acceptor.tunnel.answer(.notice)
        let bytes = pair.acceptor.output(now: pair.now)
        #expect(bytes[8...] == [0, 0, 0, 0, 0, 0, 0, 0, 0])
        try pair.dialer.input(bytes, now: pair.now)
        #expect(pair.dialer.reached == [.notice])
    }
}
