// SPDX-License-Identifier: Apache-2.0

import COpenSSL
import Testing

@testable import Cryptography

/// libcrypto reads what we wrote.
@Suite struct CertificateTests {
    final class Parsed {
        let x509: OpaquePointer
        init?(_ der: [UInt8]) {
            let found: OpaquePointer? = der.withUnsafeBufferPointer { bytes in
                var next = bytes.baseAddress
                return d2i_X509(nil, &next, bytes.count)
            }
            guard let found else { return nil }
            x509 = found
        }
        deinit { X509_free(x509) }

        var commonName: String {
            var text = [CChar](repeating: 0, count: 256)
            X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, &text, Int32(text.count))
            return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        }
    }

    @Test func isSignedByItsOwnKey() throws {
        let key = PrivateKey.generate()
        let certificate = try #require(Parsed(key.selfSignedCertificateDER(commonName: "a node")))
        let found = X509_get0_pubkey(certificate.x509)
        #expect(X509_verify(certificate.x509, found) == 1)
        #expect(X509_get_version(certificate.x509) == 2)
        #expect(certificate.commonName == "a node")
        var raw = [UInt8](repeating: 0, count: 32)
        var count = raw.count
        #expect(EVP_PKEY_get_raw_public_key(found, &raw, &count) == 1)
        #expect(raw == key.publicKey)
    }

    /// Whatever the clock says between 1970 and 9999, the certificate is valid.
    @Test(arguments: [0, 1, 946_684_800, 2_147_483_648, 4_294_967_296, 253_402_300_798])
    func isValidAtAnyTime(now: Int) throws {
        let certificate = try #require(Parsed(PrivateKey.generate().selfSignedCertificateDER(commonName: "a")))
        var time = now
        #expect(X509_cmp_time(X509_get0_notBefore(certificate.x509), &time) < 0)
        #expect(X509_cmp_time(X509_get0_notAfter(certificate.x509), &time) > 0)
    }

    @Test func isTheSameEachTime() {
        let key = PrivateKey.generate()
        #expect(key.selfSignedCertificateDER(commonName: "x") == key.selfSignedCertificateDER(commonName: "x"))
        #expect(key.selfSignedCertificateDER(commonName: "x") != key.selfSignedCertificateDER(commonName: "y"))
    }

    @Test(arguments: ["", "é", String(repeating: "n", count: 64), String(repeating: "ü", count: 300)])
    func namesOfAnyLength(name: String) throws {
        let certificate = try #require(Parsed(PrivateKey.generate().selfSignedCertificateDER(commonName: name)))
        #expect(certificate.commonName == String(name.prefix(64)))
    }

    @Test func saysThatItIsNoAuthority() throws {
        let certificate = try #require(Parsed(PrivateKey.generate().selfSignedCertificateDER(commonName: "x")))
        #expect(X509_check_ca(certificate.x509) == 0)
        // digitalSignature is bit 7 of libcrypto's flags.
        #expect(X509_get_key_usage(certificate.x509) == 0x80)
    }
}
