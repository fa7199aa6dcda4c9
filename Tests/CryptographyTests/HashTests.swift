// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Cryptography

@Suite struct HashTests {
    /// FIPS 180-4 examples.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func sha256(message: String, digest: String) {
        #expect(SHA256.hash(Array(message.utf8)) == hex(digest))
    }

    @Test(arguments: [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"), ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ])
    func sha1(message: String, digest: String) {
        #expect(SHA1.hash(Array(message.utf8)) == hex(digest))
    }

    @Test func sha384() {
        let digest = HashFunction.sha384.digest(of: Array("abc".utf8).span.bytes)
        #expect(
            digest
                == hex(
                    """
                    cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163
                    1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7
                    """))
    }

    @Test(arguments: HashFunction.allCases) func digestsHaveTheLengthThatIsPromised(function: HashFunction) {
        #expect(function.digest(of: [1, 2, 3].span.bytes).count == function.byteCount)
    }
}

@Suite struct HMACTests {
    struct Vector: Sendable {
        let key: [UInt8]
        let message: [UInt8]
        let sha256: String
        let sha384: String
    }

    /// RFC 4231, 4.2 to 4.8 (4.6 gives cut codes: compared as far as they go).
    static let vectors = [
        Vector(
            key: repeated(0x0B, 20), message: Array("Hi There".utf8),
            sha256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            sha384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"),
        Vector(
            key: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8),
            sha256: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            sha384: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"),
        Vector(
            key: repeated(0xAA, 20), message: repeated(0xDD, 50),
            sha256: "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            sha384: "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27"),
        Vector(
            key: Array(1...25), message: repeated(0xCD, 50),
            sha256: "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            sha384: "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb"),
        Vector(
            key: repeated(0x0C, 20), message: Array("Test With Truncation".utf8),
            sha256: "a3b6167473100ee06e0c796c2955552b", sha384: "3abf34c3503b2a23a46efc619baef897"),
        Vector(
            key: repeated(0xAA, 131), message: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            sha256: "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            sha384: "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952"),
        Vector(
            key: repeated(0xAA, 131),
            message: Array(
                """
                This is a test using a larger than block-size key and a larger than block-size data. \
                The key needs to be hashed before being used by the HMAC algorithm.
                """.utf8),
            sha256: "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            sha384: "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e"),
    ]

    @Test(arguments: vectors) func rfc4231(vector: Vector) {
        let sha256 = hex(vector.sha256)
        let sha384 = hex(vector.sha384)
        #expect(HMAC.code(for: vector.message, key: vector.key).prefix(sha256.count).elementsEqual(sha256))
        let code = HMAC.code(for: vector.message, key: vector.key, using: .sha384)
        #expect(code.prefix(sha384.count).elementsEqual(sha384))
    }

    /// RFC 2202, 3, case 1.
    @Test func sha1() {
        #expect(
            HMAC.code(for: Array("Hi There".utf8), key: repeated(0x0B, 20), using: .sha1)
                == hex("b617318655057264e28bc0b6fb378c8ef146be00"))
    }

    @Test func emptyKeyAndMessage() {
        let expected = hex("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
        _ = HMAC.code(for: [1], key: [9, 9])
        #expect(HMAC.code(for: [], key: []) == expected)
    }

    @Test func validity() {
        let code = HMAC.code(for: [1, 2], key: [3])
        #expect(HMAC.isValid(code, for: [1, 2], key: [3]))
        #expect(!HMAC.isValid(code, for: [1, 2], key: [4]))
        #expect(!HMAC.isValid(Array(code.dropLast()), for: [1, 2], key: [3]))
        #expect(!HMAC.isValid([], for: [1, 2], key: [3]))
    }

    @Test func constantTimeComparison() {
        #expect(constantTimeEqual([], []))
        #expect(constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEqual([1, 2], [1, 2, 3]))
    }
}

@Suite struct HKDFTests {
    /// RFC 5869, A.1.
    @Test func basic() {
        let key = HKDF.extract(salt: Array(0x00...0x0C), inputKeyMaterial: repeated(0x0B, 22))
        #expect(key == hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"))
        #expect(
            HKDF.expand(pseudorandomKey: key, info: Array(0xF0...0xF9), byteCount: 42)
                == hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"))
    }

    /// RFC 5869, A.2.
    @Test func longer() {
        let key = HKDF.extract(salt: Array(0x60...0xAF), inputKeyMaterial: Array(0x00...0x4F))
        #expect(key == hex("06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"))
        #expect(
            HKDF.expand(pseudorandomKey: key, info: Array(0xB0...0xFF), byteCount: 82)
                == hex(
                    """
                    b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09
                    da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87
                    """))
    }

    /// RFC 5869, A.3: neither salt nor info.
    @Test func withoutSaltAndInfo() {
        let key = HKDF.extract(salt: [], inputKeyMaterial: repeated(0x0B, 22))
        #expect(key == hex("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"))
        #expect(
            HKDF.expand(pseudorandomKey: key, info: [], byteCount: 42)
                == hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"))
    }

    /// RFC 5869, A.4.
    @Test func sha1() {
        let key = HKDF.extract(salt: Array(0x00...0x0C), inputKeyMaterial: repeated(0x0B, 11), using: .sha1)
        #expect(key == hex("9b6c18c432a7bf8f0e71c8eb88f4b30baa2ba243"))
        #expect(
            HKDF.expand(pseudorandomKey: key, info: Array(0xF0...0xF9), byteCount: 42, using: .sha1)
                == hex("085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896"))
    }

    @Test(arguments: [(0, 0), (-1, 0), (31, 31), (32, 32), (255 * 32, 255 * 32), (255 * 32 + 1, 255 * 32)])
    func length(wanted: Int, given: Int) {
        #expect(HKDF.expand(pseudorandomKey: repeated(1, 32), info: [2], byteCount: wanted).count == given)
    }
}
