// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// Is told when a bridge is over.
protocol BridgeOwner: AnyObject {
    func bridgeEnded(_ bridge: AnyObject)
    /// The far side did not take the endpoint that this side had opened. Comes before the end.
    func bridgeRefused(_ bridge: AnyObject, _ code: EndpointResetCode)
}

/// What connects the socket of a bridge whose endpoint is there already.
protocol BridgeDialer: AnyObject {
    /// The endpoint is gone: nobody waits for the connection any more. Comes once, and not after `join` or `refuse`.
    func bridgeAbandoned()
}

extension BridgeOwner {
    func bridgeRefused(_ bridge: AnyObject, _ code: EndpointResetCode) {}
}

/// Joins an application's TCP connection to an endpoint, in both directions, with each end and each reset passed on as what
/// it is.
///
///     socket read ─▶ endpoint.send       no room: the socket is not read, and the kernel's window closes
///     endpoint received ─▶ socket write  what the kernel has taken is told as consumed, and the far side may send more
///     FIN ─▶ finishSending               the other direction goes on
///     RST ─▶ reset                       and the reverse of each
///
/// Kept by the socket and by the endpoint; gone when both are.
///
/// What waits for its socket in the buffer that it was read into keeps that whole buffer: a peer that sends a byte at a
/// time, between others, would have 136 KiB held for each. So what has to wait is copied where it is small, or where much is
/// held already; as long as sockets take what comes nothing is.
final class StreamBridge {
    private var socket: TCPStream?
    private var endpoint: Endpoint?
    private weak var owner: (any BridgeOwner)?
    /// Kept until there is a socket, or none to come.
    var dialer: (any BridgeDialer)?
    private let loop: EventLoop
    /// What came before there was a connection to write it to, and what waits behind a socket that takes nothing.
    private var waiting = ByteRing()
    /// The far side's end, behind what waits.
    private var endWaits = false
    /// The endpoint is over; the socket goes once it has written everything.
    private var isClosing = false
    /// The far side has taken the endpoint.
    private var isOpened = false
    /// What limits a connection of which one half has ended, where anything does.
    private var halfClosedLimit: IdleLimit?

    /// How long a peer that confirms nothing may hold a connection whose other side is gone.
    private static let patience: Duration = .seconds(60)

    /// A shorter piece that has to wait is copied.
    private static let smallPiece = 4_096
    /// With so many of the tunnel's buffers in use any piece that has to wait is copied.
    private static let manyBuffers = 512

    /// - Parameter halfClosed: how long a connection of which one half has ended may stay without a byte; nil for ever.
    init(owner: any BridgeOwner, loop: EventLoop, halfClosed: Duration?) {
        self.owner = owner
        self.loop = loop
        if let halfClosed { halfClosedLimit = IdleLimit(loop: loop, timeout: halfClosed) }
    }

    func isOwned(by owner: any BridgeOwner) -> Bool { self.owner === owner }

    /// The connection is there. From here on the bridge is its delegate.
    func join(_ socket: TCPStream) {
        dialer = nil
        guard endpoint != nil || isClosing else { return socket.reset() }
        self.socket = socket
        socket.delegate = self
        writeWaiting()
        if isClosing { return closeIfWritten() }
        if let endpoint, endpoint.sendRoom > 0 { socket.startReading() }
    }

    /// The endpoint is there. Its application is the bridge.
    func join(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        if endpoint.isOpen { isOpened = true }
    }

    /// What the application had said before the bridge was there, to be passed on before anything else.
    /// - Parameter isAll: whether it has ended with that.
    func begin(with early: [UInt8], isAll: Bool) {
        var start = 0
        while start < early.count, let endpoint {
            let end = min(early.count, start + loop.buffers.capacity)
            endpoint.send(loop.buffers.lease(copying: early.rawSpan.extracting(start..<end)))
            start = end
        }
        guard isAll, endpoint != nil else { return }
        watchOtherHalf()
        endpoint?.finishSending()
    }

    /// There is no connection, and none comes.
    func refuse(_ code: EndpointResetCode) {
        dialer = nil
        waiting = ByteRing()
        isClosing = false
        guard let endpoint else { return ended() }
        endpoint.reset(code)
    }

    /// Whether the next piece is to be copied rather than kept in its buffer.
    private func mustWait(_ count: Int, for socket: TCPStream) -> Bool {
        guard waiting.isEmpty else { return true }
        return socket.isBlocked && (count < Self.smallPiece || loop.carrierBuffers.leased > Self.manyBuffers)
    }

    /// Gives the socket what waits, a buffer at a time where it is slow to take it.
    private func writeWaiting() {
        guard let socket, !socket.isBlocked else { return }
        while !waiting.isEmpty, socket.queuedBytes < loop.buffers.capacity {
            var buffer = loop.buffers.lease()
            let count = min(waiting.count, buffer.count)
            var offset = 0
            waiting.withBytes(at: 0, count: count) { piece in
                buffer.overwrite(at: offset, with: piece)
                offset += piece.byteCount
            }
            waiting.removeFirst(count)
            buffer.truncate(to: count)
            socket.write(buffer)
        }
        if endWaits, waiting.isEmpty { socket.finishWriting() }
    }

    private func closeIfWritten() {
        guard let socket, socket.queuedBytes == 0, waiting.isEmpty else { return }
        self.socket = nil
        socket.close()
        ended()
    }

    /// One half has ended.
    private func watchOtherHalf() {
        halfClosedLimit?.start { [weak self] in self?.endpoint?.reset(.timedOut) }
    }

    private func ended() {
        halfClosedLimit?.stop()
        halfClosedLimit = nil
        owner?.bridgeEnded(self)
        owner = nil
    }
}

extension StreamBridge: TCPStreamDelegate {
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        guard let endpoint else { return }
        halfClosedLimit?.touch()
        endpoint.send(bytes)
        if endpoint.sendRoom == 0 { stream.stopReading() }
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        watchOtherHalf()
        endpoint?.finishSending()
    }

    func tcpStream(_ stream: TCPStream, wrote count: Int) {
        halfClosedLimit?.touch()
        endpoint?.consumed(count)
        if !waiting.isEmpty { writeWaiting() }
        if isClosing { closeIfWritten() }
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        socket = nil
        if let endpoint { endpoint.reset(error.isTimeout ? .timedOut : .reset) } else { ended() }
    }
}

extension StreamBridge: EndpointApplication {
    func endpointOpened(_ endpoint: Endpoint) { isOpened = true }

    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        guard let socket, !mustWait(bytes.count, for: socket) else { return waiting.append(bytes.bytes) }
        socket.write(bytes)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {
        watchOtherHalf()
        guard let socket, waiting.isEmpty else { return endWaits = true }
        socket.finishWriting()
    }

    func endpointSendRoom(_ endpoint: Endpoint) { socket?.startReading() }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        if case .reset(let code) = end, !isOpened, socket != nil { owner?.bridgeRefused(self, code) }
        switch end {
        case .finished:
            isClosing = true
            socket?.setUserTimeout(Self.patience)
            closeIfWritten()
        case .reset, .sessionTerminated:
            waiting = ByteRing()
            socket?.reset()
            socket = nil
            let dialer = dialer
            self.dialer = nil
            dialer?.bridgeAbandoned()
            ended()
        }
    }
}
