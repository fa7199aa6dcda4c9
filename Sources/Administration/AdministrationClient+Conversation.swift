// SPDX-License-Identifier: Apache-2.0

public import EventLoop
public import Glibc
internal import Primitives

/// Which side ended a conversation.
public enum ConversationEnd: Equatable, Sendable {
    /// The program that was asked.
    case program
    /// This side, because of a signal.
    case signal(Int32)
}

extension AdministrationClient {
    /// Asks what is answered for as long as either side likes.
    ///
    /// The signals end the conversation where `signalled` says so, and do nothing else while it lasts.
    /// - Parameters:
    ///   - patience: how long the first line may take.
    ///   - signalled: whether a signal ends it. Called on the loop.
    ///   - passing: is asked after each line for a descriptor that is passed to the other side, which waits for it then
    ///     (``AdministrationConversation/takeDescriptor(_:)``). It is closed here.
    ///   - again: is told that the other side has ended it, or of why it is not there: after what time it is asked again;
    ///     nil for an end. The signals hold meanwhile too. Called on the loop.
    ///   - received: is given each line as it comes, without its end.
    /// - Returns: once the other side has ended it, or a signal has.
    /// - Throws: as ``ask(_:path:)``. A request of more than a line, or one that is too long, is an invalid argument, and
    ///   so is an answer with a line of more than 1 MiB.
    @discardableResult
    public static func converse(
        _ request: String, path: String, patience: Duration = .seconds(15), signals: [Int32] = [SIGINT, SIGTERM],
        signalled: @escaping (Int32) -> Bool = { _ in true }, passing: @escaping (String) -> Int32? = { _ in nil },
        again: @escaping (UVError?) -> Duration? = { _ in nil }, received: @escaping (String) -> Void
    ) throws(UVError) -> ConversationEnd {
        guard request.utf8.count <= AdministrationServer.longestRequest, !request.utf8.contains(UInt8(ascii: "\n"))
        else { throw .invalidArgument }
        let side = ConversationSide(
            loop: try EventLoop(), path: path, request: request, patience: patience, received: received,
            signalled: signalled, passing: passing, again: again)
        return try side.run(signals: signals)
    }
}

/// The side that asks.
private final class ConversationSide {
    private let loop: EventLoop
    private let path: String
    private let request: String
    private let patience: Duration
    private let received: (String) -> Void
    private let signalled: (Int32) -> Bool
    private let passing: (String) -> Int32?
    private let again: (UVError?) -> Duration?
    /// Whether the timer runs until it is asked again, not until it has to be answered.
    private var isPausing = false
    private var line: [UInt8] = []
    private var stream: TCPStream?
    private var timer: LoopTimer?
    private var end: Result<ConversationEnd, UVError> = .success(.program)
    private static let longestLine = 1 << 20

    init(
        loop: EventLoop, path: String, request: String, patience: Duration, received: @escaping (String) -> Void,
        signalled: @escaping (Int32) -> Bool, passing: @escaping (String) -> Int32?,
        again: @escaping (UVError?) -> Duration?
    ) {
        self.path = path
        self.patience = patience
        self.again = again
        self.passing = passing
        self.loop = loop
        self.request = request
        self.received = received
        self.signalled = signalled
    }

    func run(signals: [Int32]) throws(UVError) -> ConversationEnd {
        var watchers: [SignalWatcher] = []
        for signal in signals { watchers.append(try SignalWatcher(loop: loop, signal: signal, delegate: self)) }
        timer = LoopTimer(loop: loop, delegate: self)
        try begin()
        loop.run()
        for watcher in watchers { watcher.close() }
        return try end.get()
    }

    private func begin() throws(UVError) {
        stream = try TCPStream.connectUnix(loop: loop, path: path, readPool: loop.buffers, delegate: self)
        stream?.startReading()
        timer?.arm(after: patience)
    }

    /// The other side has ended it, or is not there.
    private func lost(_ error: UVError?) {
        guard let pause = again(error) else { return end(error.map { .failure($0) } ?? .success(.program)) }
        stream?.close()
        stream = nil
        line = []
        isPausing = true
        timer?.arm(after: pause)
    }

    private func end(_ result: Result<ConversationEnd, UVError>) {
        end = result
        stream?.close()
        stream = nil
        timer?.close()
        loop.stop()
    }

    private func pass(_ descriptor: Int32) {
        defer { close(descriptor) }
        do throws(UVError) { try stream?.pass(descriptor) } catch { end(.failure(error)) }
    }

    /// Gives away what is whole, and keeps the rest.
    private func giveLines() {
        while let length = line.firstIndex(of: UInt8(ascii: "\n")) {
            timer?.disarm()
            let text = String(decoding: line[..<length], as: UTF8.self)
            received(text)
            line.removeFirst(length + 1)
            if let descriptor = passing(text) { pass(descriptor) }
        }
    }
}

extension ConversationSide: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        stream.write(loop.buffers.lease(copying: Array("\(request)\n".utf8).rawSpan))
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        line.append(copying: bytes.bytes)
        giveLines()
        if line.count > Self.longestLine { end(.failure(.invalidArgument)) }
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) {
        if !line.isEmpty { received(String(decoding: line, as: UTF8.self)) }
        lost(nil)
    }

    func tcpStream(_ stream: TCPStream, failed error: UVError) { lost(error) }
}

extension ConversationSide: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        guard isPausing else { return end(.failure(.timedOut)) }
        isPausing = false
        do throws(UVError) { try begin() } catch { lost(error) }
    }
}

extension ConversationSide: SignalWatcherDelegate {
    func signalReceived(_ watcher: SignalWatcher) {
        if signalled(watcher.signal) { end(.success(.signal(watcher.signal))) }
    }
}
