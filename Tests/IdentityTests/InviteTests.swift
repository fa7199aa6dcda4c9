// SPDX-License-Identifier: Apache-2.0

import Cryptography
import Primitives
import Testing

@testable import Identity

@Suite struct InviteTests {
    /// What a second implementation of the layout wrote.
    static let golden =
        "natfwt1.oekVYFTgT6yJmunydRMs3Ael28TqLCrTof_G4NJTaB8AAQIDBAUGBwgJCgsMDQ4PBGhvbWUCEXJlbGF5LmV4YW1wbGUuY29tAbsL"
        + "MjAwMTpkYjg6OjEg-9NMB44"

    let invite: Invite

    init() throws {
        let relayID = try #require(NodeID(NodeIDTests.text))
        let token = try #require(InviteToken(bytes: Array(0..<16)))
        let relays = [
            HostAndPort(host: "relay.example.com", port: 443), HostAndPort(host: "2001:db8::1", port: 8443),
        ]
        let name = try NodeName("home")
        invite = try #require(Invite(relays: relays, relayID: relayID, token: token, name: name))
    }

    func error(_ text: String) -> InviteError? {
        do {
            _ = try Invite(text)
            return nil
        } catch { return error }
    }

    @Test func layoutIsFixed() throws {
        #expect(invite.text == InviteTests.golden)
        #expect(try Invite(InviteTests.golden) == invite)
    }

    @Test func whiteSpaceDoesNotMatter() throws {
        let text = invite.text
        let wrapped = "\n  " + text.prefix(40) + "\r\n\t" + text.dropFirst(40) + " \n"
        #expect(try Invite(wrapped) == invite)
    }

    @Test func everyTruncationIsToldAsOne() {
        let text = invite.text
        for count in 0..<text.count {
            let expected: InviteError = count < Invite.prefix.count ? .notAnInvite : .mistyped
            #expect(error(String(text.prefix(count))) == expected, "\(count) characters")
        }
        for count in 1..<text.count {
            #expect(error(String(text.dropFirst(count))) != nil, "without the first \(count)")
        }
    }

    @Test func everyChangedCharacterIsNoticed() {
        let text = Array(invite.text.utf8)
        for index in text.indices {
            for bit in 0..<7 {
                var changed = text
                changed[index] ^= 1 << UInt8(bit)
                // The one change that stands for the same: white space is left out, and none was there.
                #expect(error(String(decoding: changed, as: UTF8.self)) != nil, "character \(index), bit \(bit)")
            }
        }
        for index in Invite.prefix.count..<text.count - 1 where text[index] != text[index + 1] {
            var swapped = text
            swapped.swapAt(index, index + 1)
            #expect(error(String(decoding: swapped, as: UTF8.self)) == .mistyped, "swapped at \(index)")
        }
    }

    @Test func lostDoubledAndAddedCharactersAreNoticed() {
        let text = Array(invite.text.utf8)
        for index in Invite.prefix.count..<text.count {
            var lost = text
            lost.remove(at: index)
            #expect(error(String(decoding: lost, as: UTF8.self)) == .mistyped)
            var doubled = text
            doubled.insert(text[index], at: index)
            #expect(error(String(decoding: doubled, as: UTF8.self)) == .mistyped)
        }
        #expect(error(invite.text + ".") == .mistyped)
        #expect(error(invite.text + "=") == .mistyped)
    }

    @Test(arguments: [
        "", " ", "natfwt", "natfwt1", "natfwt.", "natfwt0.AAAA", "natfwt01.AAAA", "natfwt-1.AAAA", "natfwt+1.AAAA",
        "natfwt99999.AAAA", "Natfwt1.AAAA", "http://example.com", "\0\0\0", "natfwt\u{FF11}.AAAA", "....", "é.è",
        "SHA256:oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8",
    ])
    func whatIsNoInvite(text: String) { #expect(error(text) == .notAnInvite) }

    @Test(arguments: [2, 3, 10, 9999]) func newerVersions(version: Int) {
        #expect(error("natfwt\(version).whatever") == .newerVersion(version))
    }

    @Test func longTextsAreNotRead() {
        #expect(error(String(repeating: "A", count: Invite.maximumTextLength + 1)) == .tooLong)
        #expect(error(invite.text + String(repeating: " ", count: 1 << 20)) == .tooLong)
        #expect(error(String(repeating: "A", count: Invite.maximumTextLength)) == .notAnInvite)
    }

    @Test func randomBytesBehindThePrefix() {
        let seed = UInt64.random(in: 0 ... .max)
        var generator = Seeded(seed)
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            #expect(error(Invite.prefix + Base64URL.encode(bytes)) == .mistyped, "seed \(seed)")
            #expect(error(String(decoding: bytes, as: UTF8.self)) != nil, "seed \(seed)")
        }
    }

    /// Contents with a right checksum that no natfwt writes, cut and changed in every place: each is refused or read.
    @Test func contentsWithARightChecksum() throws {
        let content = Array(try #require(Base64URL.decode(InviteTests.golden.dropFirst(8))).dropLast(4))
        #expect(error(sealed(content)) == nil)
        for count in 0..<content.count {
            guard case .unusable = error(sealed(Array(content.prefix(count)))) else {
                Issue.record("cut after \(count)")
                continue
            }
        }
        guard case .unusable = error(sealed(content + [0])) else {
            Issue.record("one byte too many")
            return
        }
        for index in content.indices {
            for bit in 0..<8 {
                var changed = content
                changed[index] ^= 1 << UInt8(bit)
                let text = sealed(changed)
                if let read = try? Invite(text) { #expect(read.text == text) }
            }
        }
    }

    func sealed(_ content: [UInt8]) -> String {
        let checksum = SHA256.hash(Array(Invite.prefix.utf8) + content).prefix(4)
        return Invite.prefix + Base64URL.encode(content + checksum)
    }

    @Test func largestInviteIsReadAgain() throws {
        let host = Array(repeating: String(repeating: "h", count: 62), count: 4).joined(separator: ".")
        let relays = (1...8).map { HostAndPort(host: host, port: $0) }
        let large = try #require(
            Invite(
                relays: relays, relayID: invite.relayID, token: invite.token,
                name: try NodeName(String(repeating: "n", count: 63))))
        #expect(large.text.utf8.count <= Invite.maximumTextLength)
        #expect(try Invite(large.text) == large)
    }

    @Test func unusableRelaysAreRefusedWhenItIsMade() {
        let refused = [
            [], Array(repeating: HostAndPort(host: "a", port: 1), count: 9), [HostAndPort(host: "a", port: 0)],
            [HostAndPort(host: "", port: 1)], [HostAndPort(host: "a b", port: 1)],
            [HostAndPort(host: "fe80::1%lo", port: 1)],
            [HostAndPort(host: String(repeating: "a", count: 300), port: 1)],
        ]
        for relays in refused {
            #expect(Invite(relays: relays, relayID: invite.relayID, token: invite.token, name: invite.name) == nil)
        }
    }

    @Test func descriptionsHoldNoSecret() {
        let secret = Base64URL.encode(invite.token.bytes).prefix(8)
        #expect(!"\(invite)".contains(secret))
        #expect(!"\(invite.token)".contains(secret))
        #expect("\(invite)" == "Invite(home, relay.example.com:443 [2001:db8::1]:8443, secret)")
    }

    @Test func tokens() {
        var seeded = Seeded(1)
        var again = Seeded(1)
        let token = InviteToken(using: &seeded)
        #expect(token == InviteToken(using: &again))
        #expect(token != InviteToken(using: &seeded))
        #expect(InviteToken(bytes: token.bytes) == token)
        #expect(token.digest == SHA256.hash(token.bytes))
        for count in [0, 15, 17] { #expect(InviteToken(bytes: [UInt8](repeating: 0, count: count)) == nil) }
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
