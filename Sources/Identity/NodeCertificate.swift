// SPDX-License-Identifier: Apache-2.0

/// What a node shows in TLS: a certificate around its key, signed by that key. Peers look at the key and nothing else, so
/// the certificate never expires, is made anew at each start and is kept in no file.
public struct NodeCertificate: Sendable {
    /// X.509 in DER, valid from 1970 to 9999. Its common name is the node's transport ID, for people who look at a trace.
    public let der: [UInt8]

    public init(_ key: NodeKey) {
        der = key.privateKey.selfSignedCertificateDER(commonName: key.id.transportAddress.description)
    }
}
