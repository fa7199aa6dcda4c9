// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// The errors that OpenSSL's last call left on this thread's queue, taken from it.
struct OpenSSLErrors {
    /// The last error: the one nearest to the call.
    private var code: CUnsignedLong = 0
    /// The first error: the one nearest to the cause.
    private var cause: CUnsignedLong = 0

    init() {
        cause = ERR_peek_error()
        code = ERR_peek_last_error()
        ERR_clear_error()
    }

    private var reason: Int32 { ERR_GET_REASON(code) }
    private var isFromTLS: Bool { ERR_GET_LIB(code) == ERR_LIB_SSL }

    /// OpenSSL's own words for it, the cause too where it differs.
    var text: String {
        let words = Self.words(of: code)
        let causeWords = Self.words(of: cause)
        return words == causeWords ? words : "\(words): \(causeWords)"
    }

    private static func words(of code: CUnsignedLong) -> String {
        if let words = ERR_reason_error_string(code) { return String(cString: words) }
        return code == 0 ? "no reason given" : "error \(code)"
    }

    /// What happened to a handshake, given the alert that OpenSSL sent to the peer, if any.
    func handshakeError(alertSent: TLSAlert?) -> TLSError {
        // An alert that was received has the reason 1000 + its number (SSL_AD_REASON_OFFSET).
        if isFromTLS, reason >= SSL_AD_REASON_OFFSET, let number = UInt8(exactly: reason - SSL_AD_REASON_OFFSET) {
            return .received(TLSAlert(rawValue: number))
        }
        let told = alertSent.map { "; told the other side \($0.name)" } ?? ""
        return TLSError(isLocal ? .local : .peer, "\(explanation) (OpenSSL: \(text)\(told))")
    }

    private var isLocal: Bool {
        guard isFromTLS else { return true }
        return [Int(ERR_R_INTERNAL_ERROR), Int(ERR_R_MALLOC_FAILURE), Int(SSL_R_NO_CERTIFICATE_ASSIGNED)].contains(
            Int(reason))
    }

    private var explanation: String {
        switch reason {
        case _ where !isFromTLS: "the TLS handshake failed on this side"
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: "the other side speaks HTTP, not TLS"
        case SSL_R_WRONG_VERSION_NUMBER, SSL_R_BAD_PROTOCOL_VERSION_NUMBER, SSL_R_UNKNOWN_PROTOCOL:
            "the other side does not speak TLS"
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_VERSION_TOO_LOW:
            "the other side does not speak TLS 1.3"
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the other side has no certificate"
        case SSL_R_NO_APPLICATION_PROTOCOL: "the other side does not speak this application protocol"
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_GROUPS,
            SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
            "the two sides have no cipher, key exchange or signature in common"
        case SSL_R_BAD_SIGNATURE: "the other side does not have the key of its certificate"
        case SSL_R_EXCESSIVE_MESSAGE_SIZE: "the other side's handshake is too large"
        default: "the TLS handshake failed"
        }
    }
}
