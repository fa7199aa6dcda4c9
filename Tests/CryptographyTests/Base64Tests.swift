// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Cryptography

@Suite struct Base64Tests {
    /// RFC 4648, 10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func rfc4648(plain: String, encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
        let bare = encoded.replacing("=", with: "")
        #expect(Base64.encode(Array(plain.utf8), padding: false) == bare)
        #expect(Base64.decode(bare) == Array(plain.utf8))
        #expect(Base64URL.encode(Array(plain.utf8)) == bare)
    }

    @Test func alphabets() {
        #expect(Base64.encode([0xFB, 0xFF]) == "+/8=")
        #expect(Base64URL.encode([0xFB, 0xFF]) == "-_8")
        #expect(Base64URL.decode("-_8") == [0xFB, 0xFF])
        #expect(Base64URL.decode("+/8") == nil)
        #expect(Base64.decode("-_8=") == nil)
    }

    @Test(arguments: [
        "Z", "Zg=", "Zg===", "=", "==", "====", "Z===", "Zm9v=", "Zm9v====", "Zh==", "Zm9", "Zm 9v", "Zm9v\n",
        "Zm9\u{E9}",
        "Zg==Zg==", "\0\0\0\0",
    ])
    func textsThatAreNoBase64(text: String) {
        #expect(Base64.decode(text) == nil)
        #expect(Base64URL.decode(text) == nil)
    }

    @Test func paddingIsNoPartOfTheURLForm() {
        #expect(Base64URL.decode("Zg==") == nil)
        #expect(Base64URL.decode("Zg") == [0x66])
    }

    @Test(arguments: 0..<70) func roundTrip(count: Int) {
        let bytes = SecureRandom.bytes(count)
        #expect(bytes.count == count)
        #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes)
    }

    @Test func randomNumbersDiffer() {
        var random = SecureRandom()
        #expect(random.next() != random.next())
        #expect(SecureRandom.bytes(16) != SecureRandom.bytes(16))
    }
}
