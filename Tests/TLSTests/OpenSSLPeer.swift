// SPDX-License-Identifier: Apache-2.0

import COpenSSL
import TLS

/// OpenSSL's own TLS on the other end, handshake and records: what our engine must get on with.
final class OpenSSLPeer {
    struct Options {
        var suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
        var alpn: String? = "natfwt/1"
        var credentials: Credentials? = .agent
        var minimum = TLS1_3_VERSION
        var maximum = TLS1_3_VERSION
        var tickets = 0
        var groups = "X25519"
        /// Plaintext bytes that records are padded to multiples of.
        var padding = 0
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    private let context: OpaquePointer?
    private let ssl: OpaquePointer?
    private let input = BIO_new(BIO_s_mem())
    private let output = BIO_new(BIO_s_mem())

    init(_ role: TLSContext.Role, _ options: Options = Options()) {
        let context = SSL_CTX_new(role == .client ? TLS_client_method() : TLS_server_method())
        self.context = context
        SSL_CTX_set_min_proto_version_fn(context, options.minimum)
        SSL_CTX_set_max_proto_version_fn(context, options.maximum)
        SSL_CTX_set_ciphersuites(context, options.suites)
        SSL_CTX_set1_groups_list_fn(context, options.groups)
        SSL_CTX_set_num_tickets(context, options.tickets)
        SSL_CTX_set_block_padding(context, options.padding)
        if let credentials = options.credentials {
            SSL_CTX_use_certificate_ASN1(context, Int32(credentials.certificateDER.count), credentials.certificateDER)
            credentials.privateKeyDER.withUnsafeBufferPointer { bytes in
                var next = bytes.baseAddress
                let key = d2i_AutoPrivateKey(nil, &next, bytes.count)
                SSL_CTX_use_PrivateKey(context, key)
                EVP_PKEY_free(key)
            }
        }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        SSL_CTX_set_cert_verify_callback(context, { _, _ in 1 }, nil)
        if let alpn = options.alpn {
            let list = [UInt8(alpn.utf8.count)] + Array(alpn.utf8)
            SSL_CTX_set_alpn_protos(context, list, UInt32(list.count))
            if role == .server { SSL_CTX_set_alpn_select_cb(context, takeFirst, nil) }
        }
        ssl = SSL_new(context)
        SSL_set_bio(ssl, input, output)
        if role == .client { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    /// Gives it bytes of the network.
    func feed(_ bytes: [UInt8]) {
        if !bytes.isEmpty { precondition(BIO_write(input, bytes, Int32(bytes.count)) == bytes.count) }
    }

    /// Takes its bytes for the network.
    func takeOutput() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: BIO_ctrl_pending(output))
        if !bytes.isEmpty { BIO_read(output, &bytes, Int32(bytes.count)) }
        return bytes
    }

    /// Whether the handshake is over.
    func handshake() throws -> Bool {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        if result == 1 { return true }
        try check(result)
        return false
    }

    func write(_ bytes: [UInt8]) throws {
        ERR_clear_error()
        let result = SSL_write(ssl, bytes, Int32(bytes.count))
        guard result == bytes.count else { throw Failure(description: "wrote \(result): \(Self.errorText)") }
    }

    /// All plaintext that is there.
    func read() throws -> [UInt8] {
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 20_000)
        while true {
            ERR_clear_error()
            let count = SSL_read(ssl, &piece, Int32(piece.count))
            guard count > 0 else {
                if SSL_get_error(ssl, count) != SSL_ERROR_ZERO_RETURN { try check(count) }
                return all
            }
            all += piece[..<Int(count)]
        }
    }

    var hasReceivedClose: Bool { SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

    func updateKey(requesting: Bool) throws {
        let kind = requesting ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED
        guard SSL_key_update(ssl, kind) == 1 else { throw Failure(description: Self.errorText) }
        try check(SSL_do_handshake(ssl))
    }

    func close() { SSL_shutdown(ssl) }

    func exporter() -> [UInt8] {
        var value = [UInt8](repeating: 0, count: 32)
        let label = "EXPORTER-Channel-Binding"
        SSL_export_keying_material(ssl, &value, 32, label, label.utf8.count, nil, 0, 0)
        return value
    }

    private func check(_ result: Int32) throws {
        let error = SSL_get_error(ssl, result)
        guard error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ else {
            throw Failure(description: Self.errorText)
        }
    }

    private static var errorText: String {
        ERR_reason_error_string(ERR_peek_last_error()).map { String(cString: $0) } ?? "no reason"
    }
}

/// Chooses whatever the client wants most.
private func takeFirst(
    _: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ count: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?, _: UInt32, _: UnsafeMutableRawPointer?
) -> Int32 {
    guard let offered else { return SSL_TLSEXT_ERR_NOACK }
    count?.pointee = offered[0]
    chosen?.pointee = offered + 1
    return SSL_TLSEXT_ERR_OK
}
