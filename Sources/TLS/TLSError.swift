// SPDX-License-Identifier: Apache-2.0

/// Why a TLS connection cannot go on: who is to blame, and a message that a person can act on.
public struct TLSError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Whose doing it is.
    public enum Blame: Equatable, Sendable {
        /// This program: its certificate, its key, its memory, or a call out of order.
        case local
        /// What the peer sent breaks the protocol, or is not TLS 1.3 with our options.
        case peer
        /// The peer ended the connection and said why.
        case alert(TLSAlert)
    }

    public let blame: Blame
    public let message: String
    /// The alert with which the peer is to be told; nil where it told us, or where OpenSSL has told it already.
    let alertToSend: TLSAlert?

    public var description: String { message }

    init(_ blame: Blame, _ message: String, tell alert: TLSAlert? = nil) {
        self.blame = blame
        self.message = message
        alertToSend = alert
    }

    /// The peer sent something that it may not send.
    static func peer(_ message: String, _ alert: TLSAlert) -> TLSError { TLSError(.peer, message, tell: alert) }

    /// This side cannot go on.
    static func local(_ message: String) -> TLSError { TLSError(.local, message, tell: .internalError) }

    /// The peer sent an alert.
    static func received(_ alert: TLSAlert) -> TLSError {
        TLSError(.alert(alert), "\(alert.explanation) (TLS alert \(alert.name))")
    }
}
