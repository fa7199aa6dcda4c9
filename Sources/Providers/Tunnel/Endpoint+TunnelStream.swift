// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Primitives
public import Tunneling

/// An endpoint that a tunnel carries is one stream of it: what happens to the stream is told to the endpoint directly.
extension Endpoint: TunnelStreamDelegate {
    public func streamOpened(_ stream: TunnelStream) {
        indicateOpened()
        indicateSendRoom(stream.sendRoom)
    }

    public func stream(_ stream: TunnelStream, received bytes: consuming Slice) { indicateReceived(bytes) }

    public func streamReceivedEnd(_ stream: TunnelStream) { indicateReceivedEnd() }

    public func streamHasSendRoom(_ stream: TunnelStream) { indicateSendRoom(stream.sendRoom) }

    public func stream(_ stream: TunnelStream, wasReset code: StreamResetCode) {
        indicateReset(EndpointResetCode(rawValue: code.rawValue))
    }

    /// The endpoint was over when both halves had ended; this is when the last byte is known to be received.
    public func streamFinished(_ stream: TunnelStream) {}
}
