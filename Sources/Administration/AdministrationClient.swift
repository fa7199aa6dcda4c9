// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Primitives

/// Asks a running program, and waits for the answer. For the command line: it runs a loop of its own.
public final class AdministrationClient {
    private let loop: EventLoop
    private let request: String
    private var answer: [UInt8] = []
    private var failure: UVError?
    private var timer: LoopTimer?
    private weak var stream: TCPStream?
    private static let largestAnswer = 64 << 20
    /// A program that is stopped or hangs takes connections and never answers.
    private static let patience: Duration = .seconds(5)

    private init(loop: EventLoop, request: String) {
        self.loop = loop
        self.request = request
    }

    /// Sends the request to the program that listens at `path`.
    /// - Returns: the whole answer.
    /// - Throws: why it could not be had: nobody listens (refused), no such file, not allowed, no answer within 5 s.
    public static func ask(_ request: String, path: String) throws(UVError) -> String {
        let client = AdministrationClient(loop: try EventLoop(), request: request)
        let stream = try TCPStream.connectUnix(
            loop: client.loop, path: path, readPool: client.loop.buffers, delegate: client)
        client.stream = stream
        stream.startReading()
        client.timer = LoopTimer(loop: client.loop, delegate: client)
        client.timer?.arm(after: patience)
        client.loop.run()
        if let failure = client.failure { throw failure }
        return String(decoding: client.answer, as: UTF8.self)
    }
}

extension AdministrationClient: TCPStreamDelegate {
    public func tcpStreamConnected(_ stream: TCPStream) {
        stream.write(loop.buffers.lease(copying: Array("\(request)\n".utf8).rawSpan))
    }

    public func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        answer.append(copying: bytes.bytes)
        if answer.count > Self.largestAnswer { end(stream, .invalidArgument) }
    }

    public func tcpStreamReceivedEnd(_ stream: TCPStream) { end(stream, nil) }

    public func tcpStream(_ stream: TCPStream, failed error: UVError) { end(stream, error) }

    private func end(_ stream: TCPStream?, _ error: UVError?) {
        failure = error
        stream?.close()
        timer?.close()
        loop.stop()
    }
}

extension AdministrationClient: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) { end(stream, .timedOut) }
}
