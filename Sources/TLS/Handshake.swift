// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// One handshake, which OpenSSL does between two memory BIOs. It is freed as soon as it is over: tens of kilobytes that
/// an established connection does not need.
final class Handshake {
    /// All that a peer may send before it is known.
    static let maxReceived = 65_536
    /// Traffic secrets have 32 or 48 bytes.
    fileprivate static let secretLengths = 32...48

    private let ssl: OpaquePointer
    /// What the peer sent, and what goes to it. Both belong to `ssl`.
    private let input: OpaquePointer
    private let output: OpaquePointer
    private var received = 0
    fileprivate var alertSent: TLSAlert?
    fileprivate var clientSecret: TrafficSecret?
    fileprivate var serverSecret: TrafficSecret?

    init(context: TLSContext) throws(TLSError) {
        guard let ssl = SSL_new(context.pointer) else { throw .local("OpenSSL: \(OpenSSLErrors().text)") }
        let input = BIO_new(BIO_s_mem())
        let output = BIO_new(BIO_s_mem())
        guard let input, let output else {
            BIO_free(input)
            BIO_free(output)
            SSL_free(ssl)
            throw .local("no memory for a TLS handshake")
        }
        self.ssl = ssl
        self.input = input
        self.output = output
        SSL_set_bio(ssl, input, output)
        if context.role == .client { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
        // Index 0 is what OpenSSL's macros call the application's data.
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { SSL_free(ssl) }

    /// Goes on with what the peer sent.
    ///
    /// - Returns: how many bytes the handshake took, and whether it is over: what is left then are records for the
    ///   record layer.
    func advance(_ bytes: RawSpan) throws(TLSError) -> (consumed: Int, isOver: Bool) {
        let offered = min(bytes.byteCount, Self.maxReceived - received)
        ERR_clear_error()
        if offered > 0 {
            let written = bytes.withUnsafeBytes { BIO_write(input, $0.baseAddress, Int32(truncatingIfNeeded: offered)) }
            guard written == offered else { throw .local("no memory for a TLS handshake") }
        }
        received += offered
        let result = SSL_do_handshake(ssl)
        if result == 1 {
            // OpenSSL reads a record's header, then its body, and never beyond: the rest still lies in the BIO. It can
            // only be of this call, because an unfinished handshake takes everything.
            let left = BIO_ctrl_pending(input)
            guard left <= offered else { throw .local("OpenSSL left handshake bytes unread") }
            return (offered - left, true)
        }
        guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else {
            throw OpenSSLErrors().handshakeError(alertSent: alertSent)
        }
        guard received < Self.maxReceived else {
            throw TLSError(.peer, "the other side sent \(received) bytes and its TLS handshake is still not over")
        }
        return (offered, false)
    }

    /// What is to be sent to the peer, an alert after an error too.
    func takeOutput() -> [UInt8] {
        let waiting = BIO_ctrl_pending(output)
        guard waiting > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: waiting) { room, count in
            count = max(0, Int(BIO_read(output, room.baseAddress, Int32(clamping: waiting))))
        }
    }
}

// MARK: - What a handshake has found out

extension Handshake {
    /// The peer's certificate and its public key (SPKI), in DER.
    func peer() throws(TLSError) -> (certificate: [UInt8], publicKey: [UInt8]) {
        guard let certificate = SSL_get1_peer_certificate(ssl) else {
            throw .peer("the other side has no certificate", .certificateRequired)
        }
        defer { X509_free(certificate) }
        return (
            derBytes { i2d_X509(certificate, $0) }, derBytes { i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), $0) }
        )
    }

    /// The application protocol agreed on.
    var protocolName: String? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &count)
        guard count > 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: name, count: Int(count)), as: UTF8.self)
    }

    /// The channel binding of RFC 9266, 2: both sides get the same 32 bytes, and nobody in the middle can.
    func exporter() throws(TLSError) -> [UInt8] {
        let label = "EXPORTER-Channel-Binding"
        var value = [UInt8](repeating: 0, count: 32)
        guard SSL_export_keying_material(ssl, &value, value.count, label, label.utf8.count, nil, 0, 0) == 1 else {
            throw .local("OpenSSL: \(OpenSSLErrors().text)")
        }
        return value
    }

    /// Hands the keys on to the record layer, which goes on where OpenSSL ends.
    func giveKeys(to records: RecordLayer, context: TLSContext) throws(TLSError) {
        let id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl))
        guard let suite = context.suites.first(where: { $0.id == id }), let client = clientSecret,
            let server = serverSecret, client.count == suite.hashLength, server.count == suite.hashLength
        else { throw .local("OpenSSL ended the handshake without the secrets of the connection") }
        clientSecret = nil
        serverSecret = nil
        let (own, other) = context.role == .client ? (client, server) : (server, client)
        try records.install(suite, sending: own.take(), receiving: other.take())
    }

    private func derBytes(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        let count = Int(encode(nil))
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { room, written in
            var next = room.baseAddress
            written = max(0, Int(encode(&next)))
        }
    }
}

// MARK: - What OpenSSL calls

/// A secret in a box, so that it can wait in an optional and be handed on without a copy.
private final class TrafficSecret {
    private var bytes: SecretBytes
    let count: Int

    init(_ bytes: consuming SecretBytes) {
        count = bytes.count
        self.bytes = bytes
    }

    /// Hands the secret on; what stays here is empty.
    func take() -> SecretBytes {
        var taken = SecretBytes(count: 0)
        swap(&taken, &bytes)
        return taken
    }
}

private func handshake(of ssl: OpaquePointer?) -> Handshake? {
    guard let ssl, let pointer = SSL_get_ex_data(ssl, 0) else { return nil }
    return Unmanaged<Handshake>.fromOpaque(pointer).takeUnretainedValue()
}

/// OpenSSL gives out its secrets as lines for a key log: a name, the client's random and the secret, in hexadecimal.
func noteSecret(_ ssl: OpaquePointer?, _ line: UnsafePointer<CChar>?) {
    guard let line, let handshake = handshake(of: ssl) else { return }
    let text = UnsafeRawBufferPointer(start: line, count: strlen(line))
    if let secret = secret(in: text, named: "CLIENT_TRAFFIC_SECRET_0 ") { handshake.clientSecret = secret }
    if let secret = secret(in: text, named: "SERVER_TRAFFIC_SECRET_0 ") { handshake.serverSecret = secret }
}

private func secret(in line: UnsafeRawBufferPointer, named name: StaticString) -> TrafficSecret? {
    let isNamed = name.withUTF8Buffer { line.starts(with: $0) }
    guard isNamed, let space = line.lastIndex(of: UInt8(ascii: " ")) else { return nil }
    let digits = line[(space + 1)...]
    let bytes = SecretBytes(count: digits.count / 2)
    guard digits.count.isMultiple(of: 2), Handshake.secretLengths.contains(bytes.count) else { return nil }
    for (index, digit) in digits.enumerated() {
        guard let value = hexadecimalValue(digit) else { return nil }
        bytes.pointer[index / 2] = bytes.pointer[index / 2] << 4 | value
    }
    return TrafficSecret(bytes)
}

private func hexadecimalValue(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// OpenSSL tells of the alerts that it sends.
func noteAlert(_ ssl: OpaquePointer?, _ event: Int32, _ value: Int32) {
    guard event == SSL_CB_WRITE_ALERT_fn(), let handshake = handshake(of: ssl) else { return }
    handshake.alertSent = TLSAlert(rawValue: UInt8(truncatingIfNeeded: value))
}
