// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Cryptography

@Suite struct PrivateKeyTests {
    struct Vector: Sendable {
        let seed: String
        let publicKey: String
        let message: String
        let signature: String
    }

    /// RFC 8032, 7.1, tests 1 to 3.
    static let vectors = [
        Vector(
            seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", message: "",
            signature: """
                e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b
                d25bf5f0595bbe24655141438e7a100b
                """),
        Vector(
            seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", message: "72",
            signature: """
                92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c
                387b2eaeb4302aeeb00d291612bb0c00
                """),
        Vector(
            seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", message: "af82",
            signature: """
                6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659
                4a7c15e9716ed28dc027beceea1ec40a
                """),
    ]

    @Test(arguments: vectors) func rfc8032(vector: Vector) throws {
        let key = try #require(PrivateKey(seed: hex(vector.seed)))
        #expect(key.publicKey == hex(vector.publicKey))
        #expect(key.seed == hex(vector.seed))
        let signature = key.signature(for: hex(vector.message))
        #expect(signature == hex(vector.signature))
        #expect(isValidSignature(signature, for: hex(vector.message), publicKey: key.publicKey))
    }

    @Test func aSignatureHoldsForItsMessageAndKeyOnly() throws {
        let key = PrivateKey.generate()
        let signature = key.signature(for: [1, 2, 3])
        #expect(!isValidSignature(signature, for: [1, 2, 4], publicKey: key.publicKey))
        #expect(!isValidSignature(signature, for: [1, 2, 3], publicKey: PrivateKey.generate().publicKey))
        for count in 0..<signature.count {
            #expect(!isValidSignature(Array(signature.prefix(count)), for: [1, 2, 3], publicKey: key.publicKey))
        }
        #expect(!isValidSignature(signature, for: [1, 2, 3], publicKey: []))
        #expect(!isValidSignature(signature, for: [1, 2, 3], publicKey: key.publicKey + [0]))
    }

    @Test(arguments: [0, 1, 31, 33, 64]) func seedsOfOtherLengthsAreRefused(count: Int) {
        #expect(PrivateKey(seed: repeated(7, count)) == nil)
    }

    /// RFC 8410, 10.3: a key as PEM, and what it is made of. 10.1: the public key that belongs to it.
    static let rfc8410 = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
        -----END PRIVATE KEY-----

        """

    @Test func rfc8410Key() throws {
        let key = try PrivateKey(pem: PrivateKeyTests.rfc8410)
        #expect(key.pem == PrivateKeyTests.rfc8410)
        #expect(
            Base64.encode(key.subjectPublicKeyInfoDER)
                == "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
    }

    @Test func roundTrips() throws {
        let key = PrivateKey.generate()
        #expect(try PrivateKey(pkcs8DER: key.pkcs8DER).seed == key.seed)
        #expect(try PrivateKey(pem: key.pem).seed == key.seed)
        let surrounded = "Bag Attributes\r\n" + key.pem.replacing("\n", with: "  \r\n") + "trailing words"
        #expect(try PrivateKey(pem: surrounded).publicKey == key.publicKey)
    }

    @Test func keysDiffer() {
        #expect(PrivateKey.generate().publicKey != PrivateKey.generate().publicKey)
    }

    @Test func everyTruncationIsRefused() throws {
        let key = PrivateKey.generate()
        for count in 0..<key.pkcs8DER.count {
            #expect(throws: PrivateKeyError.damaged) { try PrivateKey(pkcs8DER: Array(key.pkcs8DER.prefix(count))) }
        }
        #expect(throws: PrivateKeyError.damaged) { try PrivateKey(pkcs8DER: key.pkcs8DER + [0]) }
        // Without its last line end the text is whole.
        for count in 0..<key.pem.count - 1 {
            #expect(throws: PrivateKeyError.self) { try PrivateKey(pem: String(key.pem.prefix(count))) }
        }
    }

    @Test(arguments: [
        ("", PrivateKeyError.notPEM), ("hello", .notPEM), ("-----BEGIN -----", .notPEM),
        ("-----BEGIN PRIVATE KEY-----", .damaged),
        ("-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----", .damaged),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", .damaged),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END CERTIFICATE-----", .damaged),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----", .encrypted),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
            .foreignFormat("OPENSSH PRIVATE KEY")
        ),
        // X25519: RFC 8410's other family.
        (
            """
            -----BEGIN PRIVATE KEY-----
            MC4CAQAwBQYDK2VuBCIEIFgAcHl8Fa4mg6dT3yCoVhfxsGzgnROI6XCCFtDeLrlR
            -----END PRIVATE KEY-----
            """, .otherAlgorithm("X25519")
        ),
    ])
    func whatIsNoKeyIsToldApart(text: String, error: PrivateKeyError) {
        #expect(throws: error) { try PrivateKey(pem: text) }
    }

    @Test func descriptionsHoldNoSecret() {
        let key = PrivateKey.generate()
        #expect("\(key)" == "PrivateKey(Ed25519)")
    }

    @Test func randomBytesAreReadWithoutTrouble() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0...100, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            #expect(throws: PrivateKeyError.self, "\(bytes)") { try PrivateKey(pkcs8DER: bytes) }
        }
    }
}
