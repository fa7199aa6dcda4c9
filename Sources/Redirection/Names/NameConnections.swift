// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// The connections over which an answerer is asked. Bounded: one too many is reset.
final class NameConnections {
    let answerer: NameAnswerer
    private var connections: [ObjectIdentifier: NameConnection] = [:]

    static let most = 128

    init(answerer: NameAnswerer) { self.answerer = answerer }

    var count: Int { connections.count }

    /// - Parameter server: whom the application meant to ask; nil for this answerer.
    func take(_ stream: TCPStream, meantFor server: TransportAddress? = nil) {
        guard connections.count < NameConnections.most else { return stream.reset() }
        let connection = NameConnection(stream, meantFor: server, self)
        connections[ObjectIdentifier(connection)] = connection
        connection.start()
    }

    func close() { for connection in connections.values { connection.end() } }

    fileprivate func ended(_ connection: NameConnection) { connections[ObjectIdentifier(connection)] = nil }
}

/// Questions over TCP, each behind its length in two octets (RFC 1035, 4.2.2), several at once and answered in whatever
/// order (RFC 7766, 6.2.1.1).
private final class NameConnection: TCPStreamDelegate {
    private let stream: TCPStream
    private let server: TransportAddress?
    private unowned let owner: NameConnections
    private let answerer: NameAnswerer
    private let idle: IdleLimit
    private var buffer: [UInt8] = []
    /// Questions without an answer.
    private var waiting = 0
    private var hasReceivedEnd = false
    private var isOver = false

    /// RFC 7766, 6.2.3: "seconds".
    private static let patience: Duration = .seconds(10)
    private static let mostWaiting = 32
    /// Far more than a question has.
    private static let longest = 4_096

    init(_ stream: TCPStream, meantFor server: TransportAddress?, _ owner: NameConnections) {
        self.stream = stream
        self.server = server
        self.owner = owner
        answerer = owner.answerer
        idle = IdleLimit(loop: owner.answerer.loop, timeout: NameConnection.patience)
        stream.delegate = self
    }

    func start() {
        idle.start { [weak self] in self?.end() }
        stream.startReading()
    }

    func end() {
        guard !isOver else { return }
        isOver = true
        idle.stop()
        stream.close()
        owner.ended(self)
    }

    private func read() {
        while !isOver, waiting < NameConnection.mostWaiting, buffer.count >= 2 {
            let length = Int(buffer[0]) << 8 | Int(buffer[1])
            guard length <= NameConnection.longest else { return end() }
            guard buffer.count >= 2 + length else { break }
            let message = Array(buffer[2..<2 + length])
            buffer.removeFirst(2 + length)
            ask(message)
        }
        guard !isOver else { return }
        if hasReceivedEnd, waiting == 0 { return end() }
        if hasReceivedEnd { return }
        if waiting < NameConnection.mostWaiting { stream.startReading() } else { stream.stopReading() }
    }

    private func ask(_ message: [UInt8]) {
        waiting += 1
        let isQuestion = answerer.answer(message.rawSpan, meantFor: server) { [weak self] in self?.answer($0) }
        if !isQuestion { end() }
    }

    private func answer(_ bytes: [UInt8]) {
        guard !isOver else { return }
        waiting -= 1
        idle.touch()
        let length = UInt16(clamping: bytes.count)
        let framed = [UInt8(length >> 8), UInt8(truncatingIfNeeded: length)] + bytes
        stream.write(answerer.loop.buffers.lease(copying: framed.rawSpan))
        // Not from within: the answer may have been there at once.
        if hasReceivedEnd || waiting == NameConnection.mostWaiting - 1 { answerer.loop.atTurnEnd(self) }
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        idle.touch()
        buffer.append(copying: bytes.bytes)
        read()
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        hasReceivedEnd = true
        read()
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) { end() }
}

extension NameConnection: TurnEndTask {
    func turnEnded() { read() }
}
