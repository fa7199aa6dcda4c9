// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
public import Primitives

/// Is told, on the loop, that the two sockets are closed.
public protocol StreamSpliceDelegate: AnyObject {
    /// The last call: both directions have ended, or one of the two sockets has failed.
    func streamSpliceEnded(_ splice: StreamSplice)
}

/// Two connections made into one: what comes on either goes out on the other, within the kernel (splice(2)), unread. The
/// end of a direction is passed on as one, and a failure as a reset. What the receiver does not take the sender does not
/// send: no more waits here than a pipe and two sockets hold.
///
/// Confined to its loop, which keeps it until it has ended or is closed.
public final class StreamSplice {
    /// Bytes that were passed on, in both directions together.
    public private(set) var byteCount: UInt64 = 0
    /// When something was passed on last.
    public private(set) var usedAt: Instant

    private unowned let loop: EventLoop
    private weak var delegate: (any StreamSpliceDelegate)?
    private var sides: (SpliceSide, SpliceSide)?
    /// Where no pipe was to be had.
    private var timer: LoopTimer?

    /// Bytes that one event may move, so that a fast peer can't hold the loop.
    private static let share = 4 << 20
    /// Bytes that one call is to move, and that wait in a pipe at most.
    private static let portion: UInt32 = 128 << 10
    /// Bytes that wait unsent in a socket at most.
    fileprivate static let unsent: UInt32 = 128 << 10
    /// How long it waits for a descriptor.
    private static let pause: Duration = .milliseconds(50)

    /// Takes over two connected streams, of which nothing may wait to be written and whose delegates are not called any more.
    /// - Parameter delegate: not kept.
    /// - Throws: where the system has no descriptors left; both streams are closed then.
    public init(
        loop: EventLoop, _ first: TCPStream, _ second: TCPStream, delegate: any StreamSpliceDelegate
    ) throws(UVError) {
        self.loop = loop
        self.delegate = delegate
        usedAt = loop.now
        defer {
            first.close()
            second.close()
        }
        let left = try SpliceSide(first, loop: loop)
        do throws(UVError) {
            let right = try SpliceSide(second, loop: loop)
            sides = (left, right)
            left.begin(in: self, other: right)
            right.begin(in: self, other: left)
        } catch {
            left.watcher.close()
            throw error
        }
    }

    /// Resets both connections. The delegate is not called.
    public func close() {
        guard let sides else { return }
        self.sides = nil
        for side in [sides.0, sides.1] { side.end(resetting: true, to: loop.pipes) }
    }

    fileprivate func ended(resetting: Bool) {
        guard let sides else { return }
        self.sides = nil
        for side in [sides.0, sides.1] { side.end(resetting: resetting, to: loop.pipes) }
        delegate?.streamSpliceEnded(self)
    }

    /// Moves what has come on one side to the other, until there is no more or it takes no more.
    fileprivate func move(from source: SpliceSide, to target: SpliceSide) {
        guard sides != nil, !source.isFinished else { return }
        guard var pipe = source.pipe ?? loop.pipes.lease() else { return waitForPipe(source) }
        source.pipe = nil
        var left = StreamSplice.share
        var status = 0
        source.isHeldUp = false
        while left > 0 {
            if pipe.count == 0 {
                guard !source.hasEnded else { break }
                status = Int(cl_splice(source.descriptor, pipe.input, StreamSplice.portion))
                if status == 0 { source.hasEnded = true }
                guard status > 0 else { break }
                pipe.count = status
            }
            status = Int(cl_splice(pipe.output, target.descriptor, UInt32(clamping: pipe.count)))
            guard status > 0 else { break }
            pipe.count -= status
            left -= status
            // The socket was empty, or will be asked again: the system tells when there is more.
            if pipe.count == 0, status < StreamSplice.smallPortion { break }
        }
        let moved = StreamSplice.share - left
        if moved > 0 {
            byteCount += UInt64(moved)
            usedAt = loop.now
        }
        if pipe.count > 0 {
            source.pipe = pipe
            source.isHeldUp = true
        } else {
            loop.pipes.giveBack(pipe)
        }
        guard status >= 0 || status == -Int(EAGAIN) || status == -Int(EINTR) else { return ended(resetting: true) }
        finishIfEnded(source, target)
    }

    /// The process has no descriptor left: what has come stays where it is until there is one.
    private func waitForPipe(_ source: SpliceSide) {
        source.isStarved = true
        source.watch()
        let timer = self.timer ?? LoopTimer(loop: loop, delegate: self)
        self.timer = timer
        if !timer.isArmed { timer.arm(after: Self.pause) }
    }

    /// A call that moves less has most likely emptied the socket.
    private static let smallPortion = 64 << 10

    private func finishIfEnded(_ source: SpliceSide, _ target: SpliceSide) {
        if source.hasEnded, source.pipe == nil {
            source.isFinished = true
            _ = cl_shutdown_write(target.descriptor)
            if target.isFinished { return ended(resetting: false) }
        }
        source.watch()
        target.watch()
    }
}

extension StreamSplice: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        guard let sides else { return }
        for (source, target) in [(sides.0, sides.1), (sides.1, sides.0)] where source.isStarved {
            source.isStarved = false
            move(from: source, to: target)
        }
    }
}

/// One of the two connections of a splice: what comes on it, and how far that is.
private final class SpliceSide: DescriptorReader {
    let watcher: DescriptorWatcher
    /// What has come here and was not taken on the other side.
    var pipe: Pipe?
    /// The other side takes no more at present.
    var isHeldUp = false
    /// There is no pipe for what has come.
    var isStarved = false
    /// The peer sends no more; and all of that was passed on.
    var hasEnded = false
    var isFinished = false
    /// Both of its halves are closed, which is no failure, and would be told again and again.
    private var hasHungUp = false
    private weak var splice: StreamSplice?
    private weak var other: SpliceSide?

    var descriptor: Int32 { watcher.descriptor }

    init(_ stream: TCPStream, loop: EventLoop) throws(UVError) {
        // libuv knows the number as the stream's, and closes it with that.
        let descriptor = fcntl(stream.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw UVError(code: -errno) }
        // What is urgent queues behind what is not: no more is to wait here than keeps the socket busy.
        _ = cl_set_not_sent_lowat(descriptor, StreamSplice.unsent)
        watcher = try DescriptorWatcher(adopting: descriptor, loop: loop)
    }

    func begin(in splice: StreamSplice, other: SpliceSide) {
        self.splice = splice
        self.other = other
        keeper = splice
        watcher.reader = self
        watch()
    }

    /// An open socket keeps the splice alive.
    private var keeper: StreamSplice?

    /// Waits for what can happen next.
    func watch() {
        var events: Int32 = 0
        let isPaused = isHeldUp || isStarved
        if !hasEnded, !isPaused { events |= Int32(UV_READABLE.rawValue) }
        // Nothing is read at present; a connection that fails is to be missed nevertheless, and this brings it with it.
        if isPaused, !hasHungUp { events |= Int32(UV_PRIORITIZED.rawValue) }
        if other?.isHeldUp == true { events |= Int32(UV_WRITABLE.rawValue) }
        watcher.watch(events)
    }

    func descriptorReady(_ status: Int32) {
        guard let splice, let other else { return }
        guard status == 0 else { return splice.ended(resetting: true) }
        let events = watcher.events
        if events & Int32(UV_PRIORITIZED.rawValue) != 0 {
            // A connection whose two halves have ended is over for the kernel too, though not all of it was read.
            if cl_take_error(descriptor) != 0 { return splice.ended(resetting: true) }
            hasHungUp = true
            watch()
        }
        if events & Int32(UV_WRITABLE.rawValue) != 0 { splice.move(from: other, to: self) }
        if events & Int32(UV_READABLE.rawValue) != 0, watcher.isOpen { splice.move(from: self, to: other) }
    }

    func loopEnded() { splice?.close() }

    func end(resetting: Bool, to pipes: PipePool) {
        if let pipe { pipes.giveBack(pipe) }
        pipe = nil
        if resetting { _ = cl_reset_on_close(watcher.descriptor) }
        watcher.close()
        keeper = nil
    }
}
