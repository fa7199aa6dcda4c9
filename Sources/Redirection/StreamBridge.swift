// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// Is told when a bridge is over.
protocol BridgeOwner: AnyObject {
    func bridgeEnded(_ bridge: AnyObject)
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
final class StreamBridge {
    private var socket: TCPStream?
    private var endpoint: Endpoint?
    private weak var owner: (any BridgeOwner)?
    /// What came before there was a connection to write it to.
    private var early = Ring<Slice>()
    private var earlyEnd = false
    /// The endpoint is over; the socket goes once it has written everything.
    private var isClosing = false
    /// What limits a connection of which one half has ended, where anything does.
    private var halfClosedLimit: IdleLimit?

    /// How long a peer that confirms nothing may hold a connection whose other side is gone.
    private static let patience: Duration = .seconds(60)

    /// - Parameter halfClosed: how long a connection of which one half has ended may stay without a byte; nil for ever.
    init(owner: any BridgeOwner, loop: EventLoop, halfClosed: Duration?) {
        self.owner = owner
        if let halfClosed { halfClosedLimit = IdleLimit(loop: loop, timeout: halfClosed) }
    }

    /// The connection is there. From here on the bridge is its delegate.
    func join(_ socket: TCPStream) {
        guard endpoint != nil || isClosing else { return socket.reset() }
        self.socket = socket
        socket.delegate = self
        while let bytes = early.popFirst() { socket.write(bytes) }
        if earlyEnd { socket.finishWriting() }
        if isClosing { return closeIfWritten() }
        if let endpoint, endpoint.sendRoom > 0 { socket.startReading() }
    }

    /// The endpoint is there. Its application is the bridge.
    func join(_ endpoint: Endpoint) { self.endpoint = endpoint }

    /// There is no connection, and none comes.
    func refuse(_ code: EndpointResetCode) {
        early.removeAll()
        isClosing = false
        guard let endpoint else { return ended() }
        endpoint.reset(code)
    }

    private func closeIfWritten() {
        guard let socket, socket.queuedBytes == 0 else { return }
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
        if isClosing { closeIfWritten() }
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        socket = nil
        if let endpoint { endpoint.reset(error.isTimeout ? .timedOut : .reset) } else { ended() }
    }
}

extension StreamBridge: EndpointApplication {
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        if let socket { socket.write(bytes) } else { early.append(bytes) }
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {
        watchOtherHalf()
        if let socket { socket.finishWriting() } else { earlyEnd = true }
    }

    func endpointSendRoom(_ endpoint: Endpoint) { socket?.startReading() }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.endpoint = nil
        switch end {
        case .finished:
            isClosing = true
            socket?.setUserTimeout(Self.patience)
            closeIfWritten()
        case .reset, .sessionTerminated:
            early.removeAll()
            socket?.reset()
            socket = nil
            ended()
        }
    }
}
