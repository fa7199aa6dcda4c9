// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Is told what happens to a ``TCPStream``. Every call comes on the stream's loop and none after
/// ``TCPStream/close()`` or ``TCPStream/reset()``; each of them may close this stream or any other.
public protocol TCPStreamDelegate: AnyObject {
    /// The connection that was asked for is there.
    func tcpStreamConnected(_ stream: TCPStream)
    /// Bytes have come: a slice of a buffer of the stream's pool, as long as what was read.
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice)
    /// The peer writes no more (its FIN). Writing to it goes on.
    func tcpStreamReceivedEnd(_ stream: TCPStream)
    /// The kernel has taken `count` more bytes of what was given to ``TCPStream/write(_:)``.
    func tcpStream(_ stream: TCPStream, wrote count: Int)
    /// The socket takes more, after ``TCPStream/setNeedsOutput()``: append what there is to send. Where nothing is
    /// appended there is nothing more, and the call does not come again until it is asked for.
    func tcpStream(_ stream: TCPStream, fill output: inout OutputBuffer)
    /// Connecting, reading or writing has failed; a peer's RST is ``UVError/connectionReset``. The stream is closed
    /// already, and this is its last call.
    func tcpStream(_ stream: TCPStream, failed error: UVError)
}

extension TCPStreamDelegate {
    public func tcpStreamConnected(_ stream: TCPStream) {}
    public func tcpStream(_ stream: TCPStream, wrote count: Int) {}
    public func tcpStream(_ stream: TCPStream, fill output: inout OutputBuffer) {}
}
