// SPDX-License-Identifier: Apache-2.0

import CLinux
public import Primitives

/// Is handed the connections of a ``TCPListener``.
public protocol TCPListenerDelegate: AnyObject {
    /// A connection. It is closed at once unless the call sets its ``TCPStream/delegate``; nothing is read before
    /// ``TCPStream/startReading()``.
    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress)
    /// The process or the system has too few descriptors or too little memory for another connection. Connections wait in
    /// the kernel for 100 ms; then the listener tries again.
    func tcpListener(_ listener: TCPListener, pausedFor error: UVError)
}

/// Accepts TCP connections, with TCP_NODELAY on. IPv6 addresses take IPv6 only (IPV6_V6ONLY).
///
/// It listens, and keeps its delegate alive, until it is closed or its loop ends.
public final class TCPListener {
    /// Where it was told to listen.
    public let address: TransportAddress

    let acceptor: Acceptor
    private unowned(unsafe) let loop: EventLoop
    private let readPool: BufferPool
    private var delegate: (any TCPListenerDelegate)?

    /// Listens from now on.
    ///
    /// - Parameters:
    ///   - address: where; with port 0 the system chooses the port.
    ///   - backlog: connections that the kernel holds before they are accepted; it has a limit of its own
    ///     (net.core.somaxconn).
    ///   - readPool: buffers for the accepted streams to read into.
    public init(
        loop: EventLoop, address: TransportAddress, backlog: Int = 1024, readPool: BufferPool,
        delegate: any TCPListenerDelegate
    ) throws(UVError) {
        self.address = address
        self.loop = loop
        self.readPool = readPool
        self.delegate = delegate
        let descriptor = try UVError.check(
            SocketAddress(address).withBytes { cl_tcp_listen($0, $1, Int32(clamping: backlog)) })
        acceptor = try Acceptor(descriptor, loop: loop)
        acceptor.start(for: self)
    }

    /// The address with the port that the system has chosen; nil once closed.
    public var localAddress: TransportAddress? { SocketAddress.local(of: acceptor.descriptor) }

    /// As ``TCPStream/setKeepAlive(_:)``, for every connection that is accepted from now on: they take it over from the
    /// listening socket, at no cost of their own.
    public func setKeepAlive(_ idle: Duration) {
        _ = cl_set_keep_alive(acceptor.descriptor, UInt32(clamping: (idle.millisecondsRoundedUp + 999) / 1000))
    }

    /// Leaves connections in the kernel's backlog.
    public func pause() { acceptor.setPaused(true) }
    /// Accepts again.
    public func resume() { acceptor.setPaused(false) }

    /// Closes the socket; the kernel resets the connections that nobody has accepted. No delegate call follows.
    public func close() {
        delegate = nil
        acceptor.close()
    }
}

extension TCPListener: AcceptorOwner {
    func accepted(_ descriptor: Int32, from address: TransportAddress?) {
        guard let stream = try? TCPStream(adopting: descriptor, loop: loop, readPool: readPool) else { return }
        stream.isConnected = true
        if let address { delegate?.tcpListener(self, accepted: stream, from: address) }
        if stream.delegate == nil { stream.close() }
    }

    func paused(for error: UVError) { delegate?.tcpListener(self, pausedFor: error) }
}
