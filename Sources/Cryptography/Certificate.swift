// SPDX-License-Identifier: Apache-2.0

extension PrivateKey {
    /// A certificate around the key, signed by the key itself (X.509 v3, RFC 5280), in DER. The peers pin the key, so
    /// that nothing else in it decides anything: it is valid from 1970 to 9999, since a device behind NAT may well start
    /// with a wrong clock, and it says only that the key signs and is no CA.
    /// The same key and name always give the same bytes. `commonName` is cut after 64 characters (ub-common-name).
    public func selfSignedCertificateDER(commonName: String) -> [UInt8] {
        let name = String(commonName.unicodeScalars.prefix(64))
        let signed = toBeSigned(name: DER.sequence(DER.set(DER.sequence(DER.commonName, DER.utf8String(name)))))
        return DER.sequence(signed, DER.sequence(DER.ed25519), DER.bitString(signature(for: signed)))
    }

    private func toBeSigned(name: [UInt8]) -> [UInt8] {
        DER.sequence(
            DER.explicit(0, DER.integer(2)),
            DER.integer(serialNumber),
            DER.sequence(DER.ed25519),
            name,
            // RFC 5280, 4.1.2.5: years before 2050 are UTCTime, and the end of all days is 99991231235959Z.
            DER.sequence(DER.utcTime("700101000000Z"), DER.generalizedTime("99991231235959Z")),
            name,
            subjectPublicKeyInfoDER,
            DER.explicit(
                3,
                DER.sequence(
                    DER.sequence(DER.basicConstraints, DER.yes, DER.octetString(DER.sequence())),
                    // Bit 0, digitalSignature.
                    DER.sequence(DER.keyUsage, DER.yes, DER.octetString(DER.bitString([0x80], unusedBits: 7))))))
    }

    /// At most 20 octets and positive (RFC 5280, 4.1.2.2); from the key, as nobody counts these certificates.
    private var serialNumber: [UInt8] {
        var bytes = Array(SHA256.hash(subjectPublicKeyInfoDER).prefix(16))
        bytes[0] = bytes[0] & 0x7F | 0x40
        return bytes
    }
}
