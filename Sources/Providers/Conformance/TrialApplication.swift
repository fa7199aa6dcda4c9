// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Primitives

/// A program that knows nothing of providers: it makes two TCP connections to a port of this host, sends on the first as much
/// as goes, 64 KiB at once, and takes what comes on the second. Its processor time is nobody's cost but its own, so it is a
/// process of its own.
public final class TrialApplication {
    static let host = IPAddress(v4: 0x7F00_0001)
    private let loop: EventLoop
    private let address: TransportAddress
    private let piece: Slice
    private var sender: TCPStream?
    private var receiver: TCPStream?

    /// Pieces that are given to the kernel at once.
    private static let pieces = 4

    /// Runs until one of the connections ends.
    public static func run(port: UInt16) throws(UVError) {
        let loop = try EventLoop()
        let application = TrialApplication(loop, port: port)
        application.sender = try application.connect()
        loop.run()
        loop.closeAll()
    }

    private init(_ loop: EventLoop, port: UInt16) {
        self.loop = loop
        address = TransportAddress(TrialApplication.host, port: port)
        piece = loop.buffers.lease()
    }

    private func connect() throws(UVError) -> TCPStream {
        try TCPStream.connect(loop: loop, to: address, readPool: loop.buffers, delegate: self)
    }
}

extension TrialApplication: TCPStreamDelegate {
    public func tcpStreamConnected(_ stream: TCPStream) {
        if stream === sender {
            do throws(UVError) { receiver = try connect() } catch { loop.stop() }
        } else {
            stream.startReading()
            for _ in 0..<TrialApplication.pieces { sender?.write(piece.share()) }
        }
    }

    public func tcpStream(_ stream: TCPStream, wrote count: Int) {
        while stream.queuedBytes <= piece.count * (TrialApplication.pieces - 1) { stream.write(piece.share()) }
    }

    public func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    public func tcpStreamReceivedEnd(_ stream: TCPStream) { loop.stop() }
    public func tcpStream(_ stream: TCPStream, failed error: UVError) { loop.stop() }
}
