// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Logging
internal import Primitives
internal import Telemetry

/// Answers what people ask of a running program.
public protocol AdministrationDelegate: AnyObject {
    /// The answer to one line; nil where it is not understood.
    func administration(answers request: String) -> String?
    /// Begins what lasts longer than an answer. Asked where `administration(answers:)` has no answer.
    /// - Returns: whether the request is understood; `conversation` then stays open until either side ends it, which may
    ///   have happened already. Otherwise nothing may have been said.
    func administration(begins request: String, _ conversation: AdministrationConversation) -> Bool
}

extension AdministrationDelegate {
    public func administration(begins request: String, _ conversation: AdministrationConversation) -> Bool { false }
}

/// A Unix socket on which a running program is asked about itself: one line in, the answer out, and the end, at once or
/// when either side has had enough. Who may connect is decided by the mode of the socket's file.
public final class AdministrationServer {
    private let loop: EventLoop
    private let listener: Listening
    private let unixListener: UnixListener

    /// The most bytes of a request, without its line end.
    public static let longestRequest = 8_192

    /// Listens from now on. The folder of the socket is to be there.
    public init(
        loop: EventLoop, path: String, delegate: any AdministrationDelegate, logger: Logger
    ) throws(UVError) {
        self.loop = loop
        listener = Listening(delegate: delegate, loop: loop, logger: logger)
        unixListener = try UnixListener(
            loop: loop, path: path, mode: 0o660, readPool: loop.buffers, delegate: listener)
    }

    /// Closes the socket and removes its file. Conversations that last go on.
    public func close() { unixListener.close() }
}

private final class Listening: UnixListenerDelegate {
    private weak var delegate: (any AdministrationDelegate)?
    private let loop: EventLoop
    private let log: LogSampler
    private let lasting = LastingCount()

    init(delegate: any AdministrationDelegate, loop: EventLoop, logger: Logger) {
        self.delegate = delegate
        self.loop = loop
        log = LogSampler(logger, linesPerSecond: 1)
    }

    func unixListener(_ listener: UnixListener, accepted stream: TCPStream) {
        guard let delegate else { return }
        stream.delegate = Conversation(delegate: delegate, loop: loop, lasting: lasting)
        stream.startReading()
    }

    func unixListener(_ listener: UnixListener, pausedFor error: UVError) {
        log.log(
            .warning, kind: "admin", now: loop.now, "the admin socket is paused",
            metadata: ["error": "\(error)"])
    }
}

/// How many conversations last at present.
private final class LastingCount {
    var value = 0
}

/// One question and its answer, or the conversation that comes of it.
private final class Conversation: TCPStreamDelegate {
    private weak var delegate: (any AdministrationDelegate)?
    private let loop: EventLoop
    private let count: LastingCount
    private var line: [UInt8] = []
    private let answers = BufferPool(capacity: 64 << 10, keepsAtMost: 0)
    private var lasting: AdministrationConversation?

    init(delegate: any AdministrationDelegate, loop: EventLoop, lasting: LastingCount) {
        self.delegate = delegate
        self.loop = loop
        count = lasting
    }

    deinit { if lasting != nil { count.value -= 1 } }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        // Nothing more is asked in a conversation that lasts.
        guard lasting == nil else { return }
        line.append(copying: bytes.bytes)
        let length = line.firstIndex(of: UInt8(ascii: "\n"))
        if length ?? line.count > AdministrationServer.longestRequest {
            stream.close()
        } else if length != nil {
            answer(on: stream, mayLast: true)
        }
    }

    /// A line without its end, from one who says nothing more and so can't stay.
    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        if let lasting { return lasting.gone() }
        answer(on: stream, mayLast: false)
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) { lasting?.gone() }

    func tcpStream(_ stream: TCPStream, wrote count: Int) {
        if let lasting { return lasting.wrote() }
        if stream.queuedBytes == 0 { stream.close() }
    }

    private func answer(on stream: TCPStream, mayLast: Bool) {
        let request = String(decoding: line.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        let text = delegate?.administration(answers: request)
        if text == nil, mayLast {
            guard count.value < AdministrationConversation.most else {
                return end(stream, "error: \(count.value) conversations are open already; end one of them\n")
            }
            if begins(request, on: stream) { return }
        }
        end(stream, text ?? "error: unknown request\n")
    }

    private func begins(_ request: String, on stream: TCPStream) -> Bool {
        let conversation = AdministrationConversation(stream: stream, loop: loop, pool: answers)
        lasting = conversation
        count.value += 1
        if delegate?.administration(begins: request, conversation) == true { return true }
        conversation.abandon()
        lasting = nil
        count.value -= 1
        return false
    }

    private func end(_ stream: TCPStream, _ text: String) {
        stream.stopReading()
        stream.write(text, from: answers)
        if text.isEmpty { stream.close() }
    }
}
