// SPDX-License-Identifier: Apache-2.0

import Cryptography
import Primitives
import Testing

@testable import Identity

@Suite struct NodeIDTests {
    /// The key of RFC 8410, 10.1, and what a second implementation of our rules made of it.
    static let key = Base64.decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=") ?? []
    static let text = "SHA256:oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8"
    let id = NodeID(subjectPublicKeyInfoDER: NodeIDTests.key)

    @Test func isTheHashOfTheKey() {
        #expect(id.bytes == SHA256.hash(NodeIDTests.key))
        #expect(id.description == NodeIDTests.text)
    }

    @Test func isReadAsItIsPrinted() {
        #expect(NodeID(NodeIDTests.text) == id)
        #expect(NodeID(bytes: id.bytes) == id)
        for _ in 0..<100 {
            let id = NodeKey.generate().id
            #expect(NodeID(id.description) == id)
        }
    }

    @Test(arguments: [
        "", "SHA256:", text + "=", text + "A", String(text.dropLast()), "sha256:" + text.dropFirst(7),
        String(text.dropFirst(7)), " " + text, "MD5:" + text.dropFirst(7),
        // The last character has two bits to spare, which have to be zero.
        String(text.dropLast()) + "9", text.replacing("/", with: "_"),
    ])
    func otherTextsAreRefused(text: String) { #expect(NodeID(text) == nil) }

    @Test(arguments: [0, 31, 33]) func otherLengthsAreRefused(count: Int) {
        #expect(NodeID(bytes: [UInt8](repeating: 0, count: count)) == nil)
    }

    @Test func transportAddressIsAnORCHID() throws {
        #expect(id.transportAddress.description == "2001:21:583d:480f:df7c:3247:1b31:1806")
        for _ in 0..<100 {
            let address = NodeKey.generate().id.transportAddress
            #expect(address.family == .v6)
            #expect(address.isORCHID)
            // 2001:20::/28, then the generation algorithm's four bits.
            #expect(address.bytes.prefix(4).elementsEqual([0x20, 0x01, 0x00, 0x21]))
        }
    }

    @Test(arguments: [
        ("2001:20::", true), ("2001:2f:ffff::1", true), ("2001:1f::", false), ("2001:30::", false),
        ("2001:10::1", false), ("::", false), ("192.0.2.1", false),
    ])
    func prefixOfORCHIDs(text: String, inside: Bool) throws {
        #expect(try #require(IPAddress(text)).isORCHID == inside)
    }
}
