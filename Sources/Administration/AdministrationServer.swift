// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Logging
internal import Primitives
internal import Telemetry

/// Answers what people ask of a running program.
public protocol AdministrationDelegate: AnyObject {
    /// The answer to one line; nil where it is not understood.
    func administration(answers request: String) -> String?
}

/// A Unix socket on which a running program is asked about itself: one line in, the answer out, and the end. Who may
/// connect is decided by the mode of the socket's file.
public final class AdministrationServer {
    private let loop: EventLoop
    private let listener: Listening
    private let unixListener: UnixListener

    /// Listens from now on. The folder of the socket is to be there.
    public init(
        loop: EventLoop, path: String, delegate: any AdministrationDelegate, logger: Logger
    ) throws(UVError) {
        self.loop = loop
        listener = Listening(delegate: delegate, loop: loop, logger: logger)
        unixListener = try UnixListener(
            loop: loop, path: path, mode: 0o660, readPool: loop.buffers, delegate: listener)
    }

    /// Closes the socket and removes its file.
    public func close() { unixListener.close() }
}

private final class Listening: UnixListenerDelegate {
    private weak var delegate: (any AdministrationDelegate)?
    private let loop: EventLoop
    private let log: LogSampler

    init(delegate: any AdministrationDelegate, loop: EventLoop, logger: Logger) {
        self.delegate = delegate
        self.loop = loop
        log = LogSampler(logger, linesPerSecond: 1)
    }

    func unixListener(_ listener: UnixListener, accepted stream: TCPStream) {
        guard let delegate else { return }
        stream.delegate = Conversation(delegate: delegate)
        stream.startReading()
    }

    func unixListener(_ listener: UnixListener, pausedFor error: UVError) {
        log.log(
            .warning, kind: "admin", now: loop.now, "the admin socket is paused",
            metadata: ["error": "\(error)"])
    }
}

/// One question and its answer.
private final class Conversation: TCPStreamDelegate {
    private weak var delegate: (any AdministrationDelegate)?
    private var line: [UInt8] = []
    private let answers = BufferPool(capacity: 64 << 10, keepsAtMost: 0)
    private static let longestRequest = 1_024

    init(delegate: any AdministrationDelegate) { self.delegate = delegate }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        line.append(copying: bytes.bytes)
        if line.contains(UInt8(ascii: "\n")) {
            answer(on: stream)
        } else if line.count > Self.longestRequest {
            stream.close()
        }
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) { answer(on: stream) }

    func tcpStream(_ stream: TCPStream, failed error: UVError) {}

    func tcpStream(_ stream: TCPStream, wrote count: Int) {
        if stream.queuedBytes == 0 { stream.close() }
    }

    private func answer(on stream: TCPStream) {
        stream.stopReading()
        let request = String(decoding: line.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        let text = delegate?.administration(answers: request) ?? "error: unknown request\n"
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            stream.write(answers.lease(copying: Array(rest.prefix(answers.capacity)).rawSpan))
            rest = rest.dropFirst(answers.capacity)
        }
        if text.isEmpty { stream.close() }
    }
}
