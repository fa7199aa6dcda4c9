// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// What all connections of one role share: the node's certificate and key, the application protocols, the ciphers.
///
/// TLS 1.3 only; both sides show a certificate. Any certificate of the peer is taken, because nodes sign their own:
/// what OpenSSL proves is that the peer has the key of ``TLSEngine/peerPublicKeyDER``, and whether that key is welcome
/// is for the caller to say. No tickets, no resumption, no early data, no renegotiation, no compression.
///
/// One context may serve every loop: it does not change once it is made, and OpenSSL counts its users atomically.
public final class TLSContext: @unchecked Sendable {
    /// Which side of the handshake this is.
    public enum Role: Sendable { case client, server }

    public let role: Role
    /// The application protocols (RFC 7301) of which one must be agreed on; none means that none is asked for.
    public let alpn: [String]
    /// An `SSL_CTX`.
    let pointer: OpaquePointer
    let suites: [CipherSuite]
    private let protocolList: ProtocolList

    /// The library, with its version, that seals and opens records with AES-GCM on this machine: OpenSSL, or a faster one
    /// that is installed. For a log: it decides what a gigabyte costs.
    public static var cipherLibrary: String { AEADContext.libraryOfAESGCM }

    /// Bytes of a peer's certificates that are read at most.
    private static let maxCertificates = 16_384

    /// - Parameters:
    ///   - certificateDER: the node's own certificate (X.509).
    ///   - privateKeyDER: its private key (PKCS #8, not encrypted). The caller wipes its copy.
    ///   - alpn: protocol names of 1 to 255 bytes, the most wanted first.
    /// - Throws: a local error that says which of them is wrong.
    public init(role: Role, certificateDER: [UInt8], privateKeyDER: [UInt8], alpn: [String]) throws(TLSError) {
        protocolList = try ProtocolList(alpn)
        suites = try CipherSuite.all()
        guard let pointer = SSL_CTX_new(role == .client ? TLS_client_method() : TLS_server_method()) else {
            throw .local("OpenSSL: \(OpenSSLErrors().text)")
        }
        self.role = role
        self.alpn = alpn
        self.pointer = pointer
        try restrictProtocol()
        try useCertificate(certificateDER, privateKeyDER)
        try offerProtocols()
        setCallbacks()
    }

    deinit { SSL_CTX_free(pointer) }

    private func restrictProtocol() throws(TLSError) {
        let names = suites.map(\.name).joined(separator: ":")
        guard SSL_CTX_set_min_proto_version_fn(pointer, TLS1_3_VERSION) == 1,
            SSL_CTX_set_ciphersuites(pointer, names) == 1,
            SSL_CTX_set1_groups_list_fn(pointer, "X25519:P-256:P-384") == 1,
            SSL_CTX_set_num_tickets(pointer, 0) == 1
        else { throw .local("OpenSSL: \(OpenSSLErrors().text)") }
        SSL_CTX_set_options(
            pointer, SSL_OP_NO_TICKET_fn() | SSL_OP_NO_COMPRESSION_fn() | SSL_OP_CIPHER_SERVER_PREFERENCE_fn())
        SSL_CTX_set_session_cache_mode_fn(pointer, Int(SSL_SESS_CACHE_OFF))
        SSL_CTX_set_max_cert_list_fn(pointer, Self.maxCertificates)
        // What a handshake that waits for its peer need not hold.
        SSL_CTX_set_mode_fn(pointer, Int(SSL_MODE_RELEASE_BUFFERS))
    }

    private func useCertificate(_ certificate: [UInt8], _ privateKey: [UInt8]) throws(TLSError) {
        ERR_clear_error()
        guard SSL_CTX_use_certificate_ASN1(pointer, Int32(clamping: certificate.count), certificate) == 1 else {
            throw .local("this node's certificate is not readable (OpenSSL: \(OpenSSLErrors().text))")
        }
        let key = privateKey.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            return d2i_AutoPrivateKey(nil, &next, bytes.count)
        }
        guard let key else {
            throw .local("this node's private key is not readable (OpenSSL: \(OpenSSLErrors().text))")
        }
        defer { EVP_PKEY_free(key) }
        guard SSL_CTX_use_PrivateKey(pointer, key) == 1, SSL_CTX_check_private_key(pointer) == 1 else {
            throw .local(
                "this node's private key does not belong to its certificate (OpenSSL: \(OpenSSLErrors().text))")
        }
    }

    private func offerProtocols() throws(TLSError) {
        guard !alpn.isEmpty else { return }
        if role == .server {
            SSL_CTX_set_alpn_select_cb(pointer, selectProtocol, Unmanaged.passUnretained(protocolList).toOpaque())
            return
        }
        let list = protocolList.bytes
        // This one answers 0 where all others answer 1.
        guard SSL_CTX_set_alpn_protos(pointer, list.baseAddress, UInt32(clamping: list.count)) == 0 else {
            throw .local("OpenSSL: \(OpenSSLErrors().text)")
        }
    }

    private func setCallbacks() {
        SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        // The chain proves nothing here: the caller compares the key. The peer's signature is checked nevertheless.
        SSL_CTX_set_cert_verify_callback(pointer, { _, _ in 1 }, nil)
        SSL_CTX_set_keylog_callback(pointer, noteSecret)
        SSL_CTX_set_info_callback(pointer, noteAlert)
    }
}

/// Protocol names in the form of the wire (RFC 7301, 3.1), at an address that OpenSSL may point into.
private final class ProtocolList {
    let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ names: [String]) throws(TLSError) {
        var list: [UInt8] = []
        for name in names {
            guard let count = UInt8(exactly: name.utf8.count), count > 0 else {
                throw .local("an application protocol's name has 1 to 255 bytes: \"\(name)\"")
            }
            list.append(count)
            list.append(contentsOf: name.utf8)
        }
        bytes = .allocate(capacity: list.count)
        _ = bytes.initialize(from: list)
    }

    deinit { bytes.deallocate() }
}

/// The server's choice: the first of its own names that the client offers, else the alert no_application_protocol.
private func selectProtocol(
    _: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenCount: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?, _ offeredCount: UInt32, _ list: UnsafeMutableRawPointer?
) -> Int32 {
    guard let list, let chosen else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let ours = Unmanaged<ProtocolList>.fromOpaque(list).takeUnretainedValue().bytes
    var choice: UnsafeMutablePointer<UInt8>?
    let answer = SSL_select_next_proto(
        &choice, chosenCount, ours.baseAddress, UInt32(clamping: ours.count), offered, offeredCount)
    guard answer == OPENSSL_NPN_NEGOTIATED else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    chosen.pointee = UnsafePointer(choice)
    return SSL_TLSEXT_ERR_OK
}
