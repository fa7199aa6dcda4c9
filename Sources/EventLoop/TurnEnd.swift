// SPDX-License-Identifier: Apache-2.0

/// What a turn has left to do before the loop blocks: tasks first, then the output of the streams that they and the
/// events of the turn have written to; again until nothing is left.
final class TurnEnd {
    private var tasks: [any TurnEndTask] = []
    /// The other of two arrays that take turns, so that neither gives its memory back.
    private var current: [any TurnEndTask] = []
    private var laterTasks: [any TurnEndTask] = []
    private var streams = StreamList()
    /// Streams that have had their share of this turn.
    private var later = StreamList()

    /// How often the work of a turn's end may make more of it before the sockets are looked at again.
    private static let rounds = 64

    func add(_ task: any TurnEndTask) { tasks.append(task) }

    /// Calls the task at the end of the next turn, before which the loop does not block.
    func addLater(_ task: any TurnEndTask) { laterTasks.append(task) }

    /// Flushes the stream before the loop blocks.
    func add(_ stream: TCPStream) { streams.append(stream) }

    /// Flushes the stream at the end of the next turn, before which the loop does not block.
    func addLater(_ stream: TCPStream) { later.append(stream) }

    /// Does it all, and answers whether something is left for the next turn.
    func run() -> Bool {
        streams.append(contentsOf: &later)
        tasks.append(contentsOf: laterTasks)
        laterTasks.removeAll(keepingCapacity: true)
        var round = 0
        while round < TurnEnd.rounds, !tasks.isEmpty || !streams.isEmpty {
            runTasks()
            flushStreams()
            round += 1
        }
        return !tasks.isEmpty || !streams.isEmpty || !later.isEmpty || !laterTasks.isEmpty
    }

    /// Forgets everything, at the loop's end.
    func abandon() {
        tasks.removeAll()
        laterTasks.removeAll()
        streams.append(contentsOf: &later)
        while let stream = streams.popFirst() { TurnEnd.leave(stream) }
    }

    private func runTasks() {
        guard !tasks.isEmpty else { return }
        swap(&tasks, &current)
        for index in current.indices { current[index].turnEnded() }
        current.removeAll(keepingCapacity: true)
    }

    /// Those that are there now: what they make the others write goes out in the next round.
    private func flushStreams() {
        var batch = streams
        streams = StreamList()
        while let stream = batch.popFirst() {
            if TurnEnd.leave(stream) { stream._withUnsafeGuaranteedRef { $0.turnEnded() } }
        }
    }

    /// Takes note that the stream is in no list any more, and lets it go where that was all that kept it. Whether the
    /// stream is still there.
    @discardableResult
    private static func leave(_ stream: Unmanaged<TCPStream>) -> Bool {
        let wasOnlyHere = stream._withUnsafeGuaranteedRef { stream in
            stream.isInTurnEnd = false
            return stream.isOnlyInTurnEnd
        }
        if wasOnlyHere { stream.release() }
        return !wasOnlyHere
    }
}

/// A queue of streams that are linked through themselves: no allocation and no reference count for a turn's work. A
/// stream in it outlives its socket until it is taken out.
struct StreamList {
    private var first: Unmanaged<TCPStream>?
    private var last: Unmanaged<TCPStream>?

    var isEmpty: Bool { first == nil }

    mutating func append(_ stream: TCPStream) {
        let added = Unmanaged.passUnretained(stream)
        if let last { last._withUnsafeGuaranteedRef { $0.nextInTurnEnd = added } } else { first = added }
        last = added
    }

    mutating func append(contentsOf other: inout StreamList) {
        guard let head = other.first else { return }
        if let last { last._withUnsafeGuaranteedRef { $0.nextInTurnEnd = head } } else { first = head }
        last = other.last
        other = StreamList()
    }

    mutating func popFirst() -> Unmanaged<TCPStream>? {
        guard let taken = first else { return nil }
        first = taken._withUnsafeGuaranteedRef { stream in
            defer { stream.nextInTurnEnd = nil }
            return stream.nextInTurnEnd
        }
        if first == nil { last = nil }
        return taken
    }
}
