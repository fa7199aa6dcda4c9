// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import TLS
public import Tunneling

// Each cause knows its blame: the architecture's table "Sessions end for a reason".
extension SessionFault {
    /// The connection itself failed: refused, reset, cut, unreachable.
    public init(carrier error: UVError) {
        self.init(.otherCommunicationError, "the connection failed: \(error)")
    }

    /// TLS failed: an alert is the other side's word that it can't go on; rubbish is its fault.
    public init(_ error: TLSError) {
        switch error.blame {
        case .alert: self.init(.otherCommunicationError, error.message)
        case .local, .peer: self.init(.providerOtherFailure, error.message)
        }
    }

    /// The other side broke the tunnel's protocol.
    public init(_ error: TunnelError) {
        self.init(.providerOtherFailure, "the other side broke the protocol: \(error.message)")
    }

    /// The other side said goodbye, or refuses this node.
    public init(_ goAway: GoAway) {
        switch goAway.code {
        // Said in good order: the provider has no more to carry over, and asks for the end itself.
        case .shutdown: self.init(.providerRequest, "the other side closed the session: \(goAway.text)")
        // Two programs with one key must not push each other out again and again.
        case .replaced: self.init(.providerOtherFailure, goAway.text, retryAfter: .seconds(60))
        default: self.init(.providerOtherFailure, "\(goAway.text) (\(goAway.code))")
        }
    }
}
