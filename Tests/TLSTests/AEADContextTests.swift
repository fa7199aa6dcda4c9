// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TLS

/// What one library seals the other one opens, whatever the sizes and the parts.
@Suite struct AEADContextTests {
    private static let hasTwo = AEADContext.libraryOfAESGCM.hasPrefix("libipsec-mb")
    private static let header: [UInt8] = [23, 3, 3, 1, 2]
    private static let sizes = Array(0...300) + [1_023, 1_024, 1_400, 4_095, 16_383, 16_384, 16_385, 65_536]

    /// One key of one suite in the hands of two libraries.
    private struct Two: ~Copyable {
        var sealer: AEADContext
        var opener: AEADContext

        init(_ suite: CipherSuite, sealer library: AEADContext.Library) throws {
            let other: AEADContext.Library = library == .fastest ? .openSSL : .fastest
            sealer = AEADContext(.seals, by: library)
            opener = AEADContext(.opens, by: other)
            let key = SecretBytes(copying: Array(pattern(suite.keyLength)))
            try sealer.install(suite, key: key)
            try opener.install(suite, key: key)
        }

        /// The ciphertext and its tag.
        func seal(_ plain: [UInt8], nonce: [UInt8], part: Int) -> [UInt8] {
            var sealed = plain + [UInt8](repeating: 0, count: AEADContext.tagLength)
            var isDone = sealer.begin(nonce: nonce, header: header, headerLength: header.count)
            sealed.withUnsafeMutableBytes { bytes in
                guard let start = bytes.baseAddress else { return }
                for offset in stride(from: 0, to: plain.count, by: part) {
                    let place = start + offset
                    isDone = sealer.encrypt(place, to: place, count: min(part, plain.count - offset)) && isDone
                }
                isDone = sealer.finish(tag: start + plain.count) && isDone
            }
            #expect(isDone)
            return sealed
        }

        /// The plaintext, or nil.
        func open(_ sealed: [UInt8], nonce: [UInt8], header: [UInt8] = AEADContextTests.header) -> [UInt8]? {
            var bytes = sealed
            let count = sealed.count - AEADContext.tagLength
            let isRight = bytes.withUnsafeMutableBytes { bytes in
                guard let start = bytes.baseAddress else { return false }
                return opener.open(
                    nonce: nonce, header: header, headerLength: header.count, bytes: start, count: count)
            }
            return isRight ? Array(bytes.prefix(count)) : nil
        }
    }

    @Test(
        "one library opens what the other seals", .enabled(if: hasTwo, "libipsec-mb is not here, or not for this CPU"),
        arguments: ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"], [AEADContext.Library.fastest, .openSSL])
    func interoperates(name: String, sealer: AEADContext.Library) throws {
        let suite = try #require(try CipherSuite.all().first { $0.name == name })
        let two = try Two(suite, sealer: sealer)
        var random = SystemRandomNumberGenerator()
        for size in Self.sizes {
            let plain = Array(pattern(size))
            let nonce = (0..<AEADContext.nonceLength).map { _ in UInt8.random(in: 0...255, using: &random) }
            let part = Int.random(in: 1...max(1, size), using: &random)
            let sealed = two.seal(plain, nonce: nonce, part: part)
            #expect(two.open(sealed, nonce: nonce) == plain, "\(size) bytes in parts of \(part), nonce \(nonce)")
        }
    }

    @Test("what was altered is not opened", arguments: AEADContext.Library.allCases)
    func refuses(opener: AEADContext.Library) throws {
        let suite = try #require(try CipherSuite.all().first)
        let two = try Two(suite, sealer: opener == .fastest ? .openSSL : .fastest)
        let nonce = [UInt8](repeating: 7, count: AEADContext.nonceLength)
        let sealed = two.seal(Array(pattern(100)), nonce: nonce, part: 33)
        for position in sealed.indices {
            var altered = sealed
            altered[position] ^= UInt8(1 << (position % 8))
            #expect(two.open(altered, nonce: nonce) == nil, "byte \(position)")
        }
        #expect(two.open(sealed, nonce: nonce, header: [23, 3, 3, 1, 3]) == nil)
        #expect(two.open(sealed, nonce: Array(nonce.dropLast()) + [8]) == nil)
        #expect(two.open(sealed, nonce: nonce) != nil)
    }

    /// A context that has had a key takes another one, as a key update makes it.
    @Test(arguments: AEADContext.Library.allCases) func takesAnotherKey(sealer: AEADContext.Library) throws {
        let suite = try #require(try CipherSuite.all().first)
        var two = try Two(suite, sealer: sealer)
        let nonce = [UInt8](repeating: 1, count: AEADContext.nonceLength)
        let before = two.seal([1, 2, 3], nonce: nonce, part: 3)
        try two.sealer.install(suite, key: SecretBytes(copying: [UInt8](repeating: 9, count: suite.keyLength)))
        let after = two.seal([1, 2, 3], nonce: nonce, part: 3)
        #expect(before != after && two.open(before, nonce: nonce) == [1, 2, 3] && two.open(after, nonce: nonce) == nil)
        try two.opener.install(suite, key: SecretBytes(copying: [UInt8](repeating: 9, count: suite.keyLength)))
        #expect(two.open(after, nonce: nonce) == [1, 2, 3])
    }
}
