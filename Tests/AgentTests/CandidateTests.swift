// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Agent

/// At which addresses another node is believed to take connections.
@Suite struct CandidateTests {
    @Test(arguments: [
        "192.168.1.10", "10.0.0.1", "172.16.0.1", "100.64.0.1", "203.0.113.7", "198.18.0.1", "2001:db8::1", "fd00::1",
        "::ffff:192.0.2.1",
    ])
    func oneHost(_ text: String) throws { #expect(try #require(IPAddress(text)).isCandidate) }

    /// Loopback in all its spellings, one link only, groups, nobody, and what leads to a node itself.
    @Test(arguments: [
        "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0",
        "169.254.169.254", "169.254.0.1", "::ffff:169.254.1.1", "fe80::1", "febf::1", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "::ffff:224.0.0.1", "ff02::1", "ff0e::1", "2001:20::1", "2001:2f:ffff::1",
    ])
    func nobodyOrMany(_ text: String) throws { #expect(!(try #require(IPAddress(text)).isCandidate)) }
}
