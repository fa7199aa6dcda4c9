// SPDX-License-Identifier: Apache-2.0

public import EventLoop
internal import Primitives

/// An answer that lasts: the program says more as there is more to say, until either side ends it. What a command does
/// in the foreground lives as long as its conversation.
///
/// The first line is an ``AgentAnswer``. Confined to its loop; it stays open whoever holds it.
public final class AdministrationConversation {
    /// Called once, on the loop, when the other side has gone, or takes nothing of what it is told. Not after ``end()``.
    public var onEnd: (() -> Void)?

    /// Whether either side has ended it.
    public private(set) var isOver = false

    /// What may wait for one that does not read.
    public static let mostQueued = 4 << 20
    /// How many conversations may last at once.
    public static let most = 64

    /// The user who asks, by the kernel's word.
    public let user: UInt32?

    private let loop: EventLoop
    private let pool: BufferPool
    private var stream: TCPStream?
    private var arrival: DescriptorArrival?

    init(stream: TCPStream, loop: EventLoop, pool: BufferPool) {
        self.stream = stream
        user = stream.peerUser
        self.loop = loop
        self.pool = pool
    }

    /// Says `text`: whole lines. Once the conversation is over nothing happens. One that lets more than
    /// ``mostQueued`` bytes wait is ended.
    public func send(_ text: String) {
        guard !isOver, let stream else { return }
        guard stream.queuedBytes + text.utf8.count <= AdministrationConversation.mostQueued else {
            stream.reset()
            isOver = true
            // Not within a call of the owner's.
            return loop.atTurnEnd(self)
        }
        stream.write(text, from: pool)
    }

    /// Says the first line.
    public func answer(_ answer: AgentAnswer) { send("\(answer.line)\n") }

    /// Has the other side pass a descriptor, for which ``send(_:)`` asks next. Only once in a conversation.
    /// - Parameter completion: called once, unless the conversation ends before: with the descriptor, which is the
    ///   caller's, or why none came.
    public func takeDescriptor(_ completion: @escaping (Result<Int32, UVError>) -> Void) throws(UVError) {
        guard !isOver, let stream, arrival == nil else { throw .invalidArgument }
        arrival = try stream.takeDescriptor(completion)
    }

    /// Ends the conversation, once what was said is on its way.
    public func end() {
        onEnd = nil
        arrival?.cancel()
        guard !isOver else { return }
        isOver = true
        if stream?.queuedBytes == 0 { close() }
    }

    /// Says why not, and ends.
    public func refuse(_ answer: AgentAnswer) {
        self.answer(answer)
        end()
    }

    // MARK: For the server

    /// The other side has gone.
    func gone() {
        let wasOver = isOver
        isOver = true
        close()
        if !wasOver { tell() }
    }

    func wrote() { if isOver, stream?.queuedBytes == 0 { close() } }

    /// The request was not understood after all: the stream is answered by another.
    func abandon() {
        isOver = true
        stream = nil
        onEnd = nil
    }

    private func close() {
        arrival?.cancel()
        stream?.close()
        stream = nil
    }

    private func tell() {
        let onEnd = self.onEnd
        self.onEnd = nil
        onEnd?()
    }
}

extension AdministrationConversation: TurnEndTask {
    public func turnEnded() {
        stream = nil
        tell()
    }
}

extension TCPStream {
    /// Writes all of `text`, in pieces of the pool's buffers.
    func write(_ text: String, from pool: BufferPool) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            write(pool.lease(copying: Array(rest.prefix(pool.capacity)).rawSpan))
            rest = rest.dropFirst(pool.capacity)
        }
    }
}
