// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// A key and a certificate that it has signed itself.
struct Credentials: Sendable {
    enum Kind { case ed25519, p256 }

    let certificateDER: [UInt8]
    let privateKeyDER: [UInt8]
    let publicKeyDER: [UInt8]

    static let relay = Credentials(.ed25519)
    static let agent = Credentials(.ed25519)
    static let elliptic = Credentials(.p256)

    init(_ kind: Kind) {
        let key = Self.makeKey(kind)
        defer { EVP_PKEY_free(key) }
        let certificate = X509_new()
        defer { X509_free(certificate) }
        X509_set_version(certificate, 2)
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1)
        X509_gmtime_adj(X509_getm_notBefore(certificate), -3600)
        X509_gmtime_adj(X509_getm_notAfter(certificate), 86_400)
        let name = X509_get_subject_name(certificate)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC_fn(), "test", -1, -1, 0)
        X509_set_issuer_name(certificate, name)
        X509_set_pubkey(certificate, key)
        precondition(X509_sign(certificate, key, kind == .ed25519 ? nil : EVP_sha256()) > 0)
        certificateDER = Self.bytes { i2d_X509(certificate, $0) }
        publicKeyDER = Self.bytes { i2d_PUBKEY(key, $0) }
        let info = EVP_PKEY2PKCS8(key)
        defer { PKCS8_PRIV_KEY_INFO_free(info) }
        privateKeyDER = Self.bytes { i2d_PKCS8_PRIV_KEY_INFO(info, $0) }
    }

    private static func makeKey(_ kind: Kind) -> OpaquePointer? {
        let context = EVP_PKEY_CTX_new_from_name(nil, kind == .ed25519 ? "ED25519" : "EC", nil)
        defer { EVP_PKEY_CTX_free(context) }
        EVP_PKEY_keygen_init(context)
        if kind == .p256 { EVP_PKEY_CTX_set_group_name(context, "P-256") }
        var key: OpaquePointer?
        EVP_PKEY_generate(context, &key)
        return key
    }

    private static func bytes(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Int(encode(nil))) { room, count in
            var next = room.baseAddress
            count = Int(encode(&next))
        }
    }
}

/// `MBSTRING_ASC`, a macro that Swift cannot import.
private func MBSTRING_ASC_fn() -> Int32 { 0x1000 | 1 }
