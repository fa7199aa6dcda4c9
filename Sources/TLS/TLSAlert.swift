// SPDX-License-Identifier: Apache-2.0

/// What one side tells the other before it closes (RFC 8446, 6).
public struct TLSAlert: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let closeNotify = TLSAlert(rawValue: 0)
    public static let unexpectedMessage = TLSAlert(rawValue: 10)
    public static let badRecordMAC = TLSAlert(rawValue: 20)
    public static let recordOverflow = TLSAlert(rawValue: 22)
    public static let handshakeFailure = TLSAlert(rawValue: 40)
    public static let badCertificate = TLSAlert(rawValue: 42)
    public static let illegalParameter = TLSAlert(rawValue: 47)
    public static let accessDenied = TLSAlert(rawValue: 49)
    public static let decodeError = TLSAlert(rawValue: 50)
    public static let protocolVersion = TLSAlert(rawValue: 70)
    public static let internalError = TLSAlert(rawValue: 80)
    public static let userCanceled = TLSAlert(rawValue: 90)
    public static let certificateRequired = TLSAlert(rawValue: 116)
    public static let noApplicationProtocol = TLSAlert(rawValue: 120)

    /// The name in RFC 8446, so that it can be looked up: `handshake_failure`.
    public var name: String {
        switch rawValue {
        case 0: "close_notify"
        case 10: "unexpected_message"
        case 20: "bad_record_mac"
        case 22: "record_overflow"
        case 40: "handshake_failure"
        case 42: "bad_certificate"
        case 43: "unsupported_certificate"
        case 44: "certificate_revoked"
        case 45: "certificate_expired"
        case 46: "certificate_unknown"
        case 47: "illegal_parameter"
        case 48: "unknown_ca"
        case 49: "access_denied"
        case 50: "decode_error"
        case 51: "decrypt_error"
        case 70: "protocol_version"
        case 71: "insufficient_security"
        case 80: "internal_error"
        case 86: "inappropriate_fallback"
        case 90: "user_canceled"
        case 109: "missing_extension"
        case 110: "unsupported_extension"
        case 112: "unrecognized_name"
        case 113: "bad_certificate_status_response"
        case 115: "unknown_psk_identity"
        case 116: "certificate_required"
        case 120: "no_application_protocol"
        default: "alert \(rawValue)"
        }
    }

    public var description: String { name }

    /// What it means to a person who reads it in a log.
    var explanation: String {
        switch rawValue {
        case 10, 47, 50: "the other side could not make sense of what it received"
        case 20, 51: "what the other side received was altered on the way, or its keys differ"
        case 22: "the other side received a record that is too long"
        case 40, 71: "the other side found no cipher or key exchange that both sides support"
        case 42, 43, 44, 45, 46, 48, 49: "the other side does not accept this side's certificate"
        case 70: "the other side does not speak TLS 1.3"
        case 80: "the other side had an internal error"
        case 90: "the other side gave up"
        case 112: "the other side does not know the server name"
        case 116: "the other side asks for a certificate and got none"
        case 120: "the other side does not speak this application protocol"
        default: "the other side ended the connection"
        }
    }
}
