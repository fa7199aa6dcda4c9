// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Redirection

/// Where nodes may go to: judged by the address alone, however it was written.
@Suite struct EgressPolicyTests {
    private static func prefixes(_ texts: [String]) throws -> [AddressPrefix] {
        try texts.map { try #require(AddressPrefix($0)) }
    }

    /// What the settings add, what they take away, an address, and the rule that forbids it.
    @Test(
        arguments: [
            ([], [], "8.8.8.8", nil), ([], [], "2606:4700::1111", nil), ([], [], "::ffff:8.8.8.8", nil),
            ([], [], "127.0.0.1", .notPublic), ([], [], "::ffff:127.0.0.1", .notPublic), ([], [], "::1", .notPublic),
            ([], [], "10.1.2.3", .notPublic), ([], [], "169.254.169.254", .notPublic), ([], [], "0.0.0.0", .notPublic),
            ([], [], "64:ff9b::7f00:1", .notPublic), ([], [], "64:ff9b::808:808", .notPublic),
            ([], [], "168.63.129.16", .metadata), ([], [], "::ffff:168.63.129.16", .metadata),
            ([], [], "100.100.100.200", .notPublic), ([], [], "2001:20::1", .notPublic),
            // An operator's word about what is not public.
            (["10.1.0.0/16"], [], "10.1.2.3", nil), (["10.1.0.0/16"], [], "::ffff:10.1.2.3", nil),
            (["10.1.0.0/16"], [], "10.2.2.3", .notPublic), (["127.0.0.0/8"], [], "127.0.0.1", nil),
            (["168.63.129.16"], [], "168.63.129.16", nil), (["203.0.114.5"], [], "203.0.114.5", nil),
            (["0.0.0.0/0"], [], "0.0.0.0", .notPublic), (["::/0"], [], "::", .notPublic),
            // About what is.
            ([], ["8.8.0.0/16"], "8.8.8.8", .except), ([], ["8.8.0.0/16"], "::ffff:8.8.8.8", .except),
            (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.2.3", .except), (["10.0.0.0/8"], ["10.1.0.0/16"], "10.2.2.3", nil),
            // The relay's own, public or not.
            ([], [], "203.0.114.5", .own), ([], [], "::ffff:203.0.114.5", .own), ([], [], "2a00::5", .own),
            (["0.0.0.0/0"], [], "203.0.114.5", nil),
            // What is behind a translator is judged like what is in front of it.
            (["64:ff9b::/96"], [], "64:ff9b::808:808", nil), (["64:ff9b::/96"], [], "64:ff9b::7f00:1", .notPublic),
            (["64:ff9b::/96"], ["8.8.8.8"], "64:ff9b::808:808", .except),
            (["64:ff9b::/96"], [], "64:ff9b::cb00:7205", .own),
            (["64:ff9b::/96", "10.0.0.0/8"], [], "64:ff9b::a01:203", nil),
        ] as [([String], [String], String, EgressPolicy.Rule?)])
    func addresses(also: [String], except: [String], text: String, rule: EgressPolicy.Rule?) throws {
        let policy = EgressPolicy(also: try Self.prefixes(also), except: try Self.prefixes(except))
        let own = Set(["203.0.114.5", "2a00::5"].compactMap { IPAddress($0) })
        #expect(policy.refusal(of: try #require(IPAddress(text)), own: own) == rule)
    }

    @Test func withoutKnowingItselfItLetsNobodyOut() throws {
        let policy = EgressPolicy(also: try Self.prefixes(["10.0.0.0/8"]))
        #expect(policy.refusal(of: try #require(IPAddress("8.8.8.8")), own: nil) == .ownUnknown)
        #expect(policy.refusal(of: try #require(IPAddress("10.0.0.1")), own: nil) == nil)
    }

    @Test func ports() {
        let policy = EgressPolicy(streamPorts: [1...24, 26...65_535], datagramPorts: [53...53])
        #expect(policy.permits(.stream, 24) && policy.permits(.stream, 26) && !policy.permits(.stream, 25))
        #expect(policy.permits(.datagram, 53) && !policy.permits(.datagram, 54))
        #expect(!policy.permits(.stream, 0) && !policy.permits(.datagram, 0) && !policy.permits(.packet, 53))
    }

    @Test func theHostsOwnAddressesAreRead() throws {
        let own = OwnAddresses(loop: try EventLoop())
        #expect(own.current?.contains(.loopbackV4) == true)
        let outer = try #require(IPAddress("203.0.114.5"))
        #expect(own.current?.contains(outer) == false)
        own.others = [outer]
        #expect(own.current?.contains(outer) == true)
    }
}
