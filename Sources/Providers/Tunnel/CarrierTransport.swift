// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
public import Primitives

/// What a carrier lies on: bytes in order, both ways. It keeps its carrier from ``begin(for:)`` until it is closed.
public protocol CarrierTransport: AnyObject {
    /// The peer, where it has an address.
    var remoteAddress: TransportAddress? { get }
    /// Tells the carrier what comes from here on.
    func begin(for carrier: Carrier)
    /// Writes the bytes before anything that the carrier is asked for.
    func write(_ bytes: consuming Slice)
    /// Has the carrier fill buffers, from the turn's end on, until it has nothing more to send.
    func setNeedsOutput()
    /// Ends this side's half behind all that waits.
    func finishWriting()
    func close()
    /// The peer is asked for a sign of life after so much silence: gives the path up in time, where it can tell.
    func watch(_ interval: Duration)
}

extension TCPStream: CarrierTransport {
    public func begin(for carrier: Carrier) {
        setNotSentLowat(128 << 10)
        delegate = carrier
        startReading()
    }

    /// Has the kernel give the connection up before the tunnel does where the path is cut, so that a peer that is stopped
    /// (its kernel still confirms) and a link that is cut are told apart.
    public func watch(_ interval: Duration) { setUserTimeout(interval + interval / 2) }
}

extension Carrier: TCPStreamDelegate {
    public func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) { received(bytes) }

    public func tcpStreamReceivedEnd(_ stream: TCPStream) { receivedEnd() }

    public func tcpStream(_ stream: TCPStream, fill output: inout OutputBuffer) { fill(&output) }

    public func tcpStream(_ stream: TCPStream, failed error: UVError) {
        // The kernel gives up a peer, too, that confirms and takes nothing: its program is stopped, the path is not cut.
        if error.isTimeout, let silence = stream.silenceBeforeFailure, silence < livenessInterval {
            return transportFailed(
                SessionFault(.providerTimeout, "the other side has taken nothing for too long"))
        }
        transportFailed(SessionFault(carrier: error))
    }
}
