// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives

/// One end of a TCP connection, which does what the test says and writes down what it sees.
public final class TestPeer: TCPStreamDelegate {
    public private(set) var stream: TCPStream?
    public private(set) var received: [UInt8] = []
    public private(set) var isConnected = false
    /// The other end's FIN.
    public private(set) var hasReceivedEnd = false
    public private(set) var failure: UVError?
    /// Sends back whatever comes, and the end after the end.
    public var echoes = false
    public var onReceived: (TestPeer) -> Void = { _ in }
    public var onEnd: (TestPeer) -> Void = { _ in }

    public init() {}

    /// Connects to a port of this host.
    public static func connect(_ loop: EventLoop, _ port: UInt16, ip: IPAddress = .loopbackV4) throws -> TestPeer {
        let peer = TestPeer()
        let address = TransportAddress(ip, port: port)
        peer.stream = try TCPStream.connect(loop: loop, to: address, readPool: loop.buffers, delegate: peer)
        peer.stream?.startReading()
        return peer
    }

    /// Takes an accepted connection.
    public func adopt(_ stream: TCPStream) {
        self.stream = stream
        isConnected = true
        stream.delegate = self
        stream.startReading()
    }

    public var isOver: Bool { failure != nil || hasReceivedEnd }
    public var text: String { String(decoding: received, as: UTF8.self) }

    public func send(_ bytes: [UInt8]) {
        guard let stream else { return }
        let pool = BufferPool(capacity: 64 << 10, keepsAtMost: 0)
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + pool.capacity)
            stream.write(pool.lease(copying: bytes.span.bytes.extracting(start..<end)))
            start = end
        }
    }

    public func send(_ text: String) { send(Array(text.utf8)) }
    public func finish() { stream?.finishWriting() }
    public func reset() { stream?.reset() }
    public func close() { stream?.close() }
    public func stopReading() { stream?.stopReading() }
    public func startReading() { stream?.startReading() }

    public func tcpStreamConnected(_ stream: TCPStream) { isConnected = true }

    public func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        received.append(copying: bytes.bytes)
        if echoes { stream.write(bytes) }
        onReceived(self)
    }

    public func tcpStreamReceivedEnd(_ stream: TCPStream) {
        hasReceivedEnd = true
        if echoes { stream.finishWriting() }
        onEnd(self)
    }

    public func tcpStream(_ stream: TCPStream, failed error: UVError) { failure = error }
}

/// A TCP server on a port of this host.
public final class TestServer: TCPListenerDelegate {
    public private(set) var port: UInt16 = 0
    public private(set) var peers: [TestPeer] = []
    /// Prepares a peer before it reads.
    public var onAccepted: (TestPeer) -> Void = { _ in }
    /// Takes the connection in the place of a peer.
    public var takes: ((TCPStream, TransportAddress) -> Void)?
    private var listener: TCPListener?

    /// - Parameter port: 0 for one that the system chooses.
    public init(_ loop: EventLoop, ip: IPAddress = .loopbackV4, port: UInt16 = 0, pool: BufferPool? = nil) throws {
        let address = TransportAddress(ip, port: port)
        listener = try TCPListener(loop: loop, address: address, readPool: pool ?? loop.buffers, delegate: self)
        self.port = listener?.localAddress?.port ?? 0
    }

    public func close() { listener?.close() }

    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        if let takes { return takes(stream, address) }
        let peer = TestPeer()
        peers.append(peer)
        peer.adopt(stream)
        onAccepted(peer)
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}
}

/// A UDP socket on this host that writes down what it sees.
public final class TestDatagrams: UDPSocketDelegate {
    public private(set) var received: [[UInt8]] = []
    public private(set) var senders: [TransportAddress] = []
    public var echoes = false
    private var socket: UDPSocket?

    /// - Parameter peer: the only one it speaks with; nil for whoever comes.
    public init(_ loop: EventLoop, to peer: TransportAddress? = nil, ip: IPAddress = .loopbackV4) throws {
        if let peer {
            socket = try UDPSocket(loop: loop, connectedTo: peer, delegate: self)
        } else {
            socket = try UDPSocket(loop: loop, bind: TransportAddress(ip, port: 0), delegate: self)
        }
    }

    public var port: UInt16 { socket?.localAddress?.port ?? 0 }
    public var texts: [String] { received.map { String(decoding: $0, as: UTF8.self) } }

    public func send(_ text: String, to address: TransportAddress? = nil) { send(Array(text.utf8), to: address) }
    public func send(_ bytes: [UInt8], to address: TransportAddress? = nil) {
        socket?.send(bytes.span.bytes, to: address)
    }

    public func close() { socket?.close() }

    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        received.append(datagram.withUnsafeBytes { Array($0) })
        senders.append(address)
        if echoes { socket.send(datagram, to: address, from: local) }
    }

    public func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}

/// A port of this host on which nobody listens now.
public func freePort(_ loop: EventLoop, ip: IPAddress = .loopbackV4) throws -> UInt16 {
    for _ in 0..<100 {
        // Not one that the system chooses by itself for the connections of other tests.
        guard let server = try? TestServer(loop, ip: ip, port: .random(in: 10_000..<20_000)) else { continue }
        defer { server.close() }
        return server.port
    }
    throw UVError.addressInUse
}

/// The same, for programs that a test starts.
public func freePort() throws -> Int {
    let loop = try EventLoop()
    defer { loop.closeAll() }
    return Int(try freePort(loop))
}
