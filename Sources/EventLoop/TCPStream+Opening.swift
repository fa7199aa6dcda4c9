// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
public import Primitives

extension TCPStream {
    /// Begins to connect; on the loopback interface it is done at once. The delegate is told behind the call, when the
    /// connection is there, or why it failed; what cannot even begin is thrown.
    ///
    /// - Parameters:
    ///   - address: the peer.
    ///   - source: the address on this side; with port 0 the system chooses the port.
    ///   - readPool: buffers to read into.
    ///   - delegate: kept until the stream is closed.
    public static func connect(
        loop: EventLoop, to address: TransportAddress, from source: TransportAddress? = nil, readPool: BufferPool,
        delegate: any TCPStreamDelegate
    ) throws(UVError) -> TCPStream {
        let origin = source.map(SocketAddress.init) ?? SocketAddress()
        let isV6: Int32 = address.ip.family == .v6 ? 1 : 0
        let descriptor = try UVError.check(origin.withBytes { cl_tcp_socket(isV6, $0, $1) })
        guard address.ip.isLoopback else {
            return try connect(loop: loop, adopting: descriptor, to: address, readPool: readPool, delegate: delegate)
        }
        let status = SocketAddress(address).withBytes { cl_tcp_connect_at_once(descriptor, $0, $1) }
        guard status == -EINPROGRESS else {
            let stream = try TCPStream(adopting: descriptor, loop: loop, readPool: readPool)
            stream.tell(delegate, connected: status)
            return stream
        }
        // It has to wait, which libuv does only with sockets that it connects itself.
        Glibc.close(descriptor)
        let another = try UVError.check(origin.withBytes { cl_tcp_socket(isV6, $0, $1) })
        return try connect(loop: loop, adopting: another, to: address, readPool: readPool, delegate: delegate)
    }

    /// As ``connect(loop:to:from:readPool:delegate:)``, with a socket that is there; where that fails it is closed.
    static func connect(
        loop: EventLoop, adopting descriptor: Int32, to address: TransportAddress, readPool: BufferPool,
        delegate: any TCPStreamDelegate
    ) throws(UVError) -> TCPStream {
        let stream = try TCPStream(adopting: descriptor, loop: loop, readPool: readPool)
        do {
            try stream.beginConnecting(to: SocketAddress(address))
        } catch {
            stream.end(resetting: false)
            throw error
        }
        stream.delegate = delegate
        return stream
    }

    /// Connects to a Unix socket, which the kernel does at once. The delegate is told nonetheless, at the turn's end.
    public static func connectUnix(
        loop: EventLoop, path: String, readPool: BufferPool, delegate: any TCPStreamDelegate
    ) throws(UVError) -> TCPStream {
        let stream = try TCPStream(adopting: try UVError.check(cl_unix_connect(path)), loop: loop, readPool: readPool)
        stream.tell(delegate, connected: 0)
        return stream
    }

    /// Has the delegate hear what connecting has come to, once the caller is done.
    private func tell(_ delegate: any TCPStreamDelegate, connected status: Int32) {
        self.delegate = delegate
        loop.atTurnEnd(ConnectedAtOnce(stream: self, status: status))
    }

    /// Takes a socket over; where that fails it is closed.
    convenience init(adopting descriptor: Int32, loop: EventLoop, readPool: BufferPool) throws(UVError) {
        self.init(loop: loop, readPool: readPool, descriptor: descriptor)
        let status = uv_tcp_open(handle, descriptor)
        guard status == 0 else {
            end(resetting: false)
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
    }

    private func beginConnecting(to address: SocketAddress) throws(UVError) {
        let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
        let status = address.withBytes { bytes, _ in
            uv_tcp_connect(request, handle, bytes?.assumingMemoryBound(to: sockaddr.self)) { request, status in
                guard let request else { return }
                let data = request.pointee.handle.pointee.data
                request.deallocate()
                guard let data else { return }
                TCPStream.from(data)._withUnsafeGuaranteedRef { $0.connected(status: status) }
            }
        }
        guard status == 0 else {
            request.deallocate()
            throw UVError(code: status)
        }
    }

    fileprivate func connected(status: Int32) {
        guard !isClosed else { return }
        guard status == 0 else {
            fail(UVError(code: status))
            return
        }
        isConnected = true
        delegate?.tcpStreamConnected(self)
        guard !isClosed else { return }
        if wantsReading, !isReading { beginReading() }
        scheduleOutput()
    }
}

/// Tells at the turn's end that a socket is connected, or why not.
private final class ConnectedAtOnce: TurnEndTask {
    private let stream: TCPStream
    private let status: Int32

    init(stream: TCPStream, status: Int32) {
        self.stream = stream
        self.status = status
    }

    func turnEnded() { stream.connected(status: status) }
}
