// SPDX-License-Identifier: Apache-2.0

import CUV
import Glibc
public import Primitives

/// Work that waits for the end of a turn, when everything that the turn brought is known.
public protocol TurnEndTask: AnyObject {
    /// Called once for each ``EventLoop/atTurnEnd(_:)``, before the loop blocks again. It may ask for another call.
    func turnEnded()
}

/// A libuv loop and what its sockets share. It is born on its thread and never leaves it: only ``mailbox`` crosses.
///
/// A turn is: timers, the work of ``atTurnEnd(_:)``, the output of every stream that has any, then waiting for events
/// and handling them. Sockets live until they are closed, or until the loop goes: its end closes what is open.
public final class EventLoop {
    /// 64 KiB buffers for reading.
    public let buffers = BufferPool(capacity: 64 << 10, keepsAtMost: 256)
    /// Buffers for what a carrier reads and writes: 128 KiB of payload with what TLS and frames add to it, so that the two
    /// fills of a fast sender come in one read.
    public let carrierBuffers = BufferPool(capacity: 136 << 10, keepsAtMost: 64)
    /// The way in for other threads.
    public let mailbox = Mailbox()
    /// Whether ``run()`` goes on waiting for mail when there is nothing else to wait for. False at first.
    public var waitsForMail = false {
        didSet {
            let handle = EventLoop.base(handles.mail)
            if waitsForMail { uv_ref(handle) } else { uv_unref(handle) }
        }
    }

    let uv: UnsafeMutablePointer<uv_loop_t>
    /// Counts turns, so that a stream can tell a new one from the one before.
    private(set) var turn: UInt32 = 0
    let writeRequests = WriteRequestPool()
    let chunks = SliceChunkPool()
    let pipes = PipePool()
    /// What UDP sockets share; made by the first of them.
    private(set) lazy var datagrams = DatagramArena()
    let ending = TurnEnd()

    private let handles = LoopHandles()
    private var isOpen = false
    private let thread = pthread_self()
    private var cachedNow: Instant?
    private var isStopping = false
    /// Whether the allocator was asked to give back what it keeps since something was freed.
    var idleMemoryIsTrimmed = false
    /// What the process had used when it was last looked at, and when code was last let go.
    var usage = (atLastLook: ProcessUsage(), whenForgotten: ProcessUsage())

    /// Makes a loop for the calling thread. A write to a socket whose peer has gone must not end the process, so SIGPIPE
    /// is ignored from here on.
    public init() throws(UVError) {
        signal(SIGPIPE, SIG_IGN)
        uv = .allocate(capacity: 1)
        try UVError.check(uv_loop_init(uv))
        handles.open(on: uv, for: Unmanaged.passUnretained(self).toOpaque())
        try UVError.check(mailbox.open(handles.mail, on: uv))
        uv_unref(EventLoop.base(handles.mail))
        isOpen = true
    }

    deinit {
        mailbox.close()
        if isOpen { end() }
        handles.free()
        uv.deallocate()
    }

    /// Runs until ``stop()`` is called or nothing is left to wait for. What was to be written by the turn's end is
    /// handed to the kernel before it returns.
    public func run() {
        precondition(pthread_equal(thread, pthread_self()) != 0, "a loop runs on the thread that made it")
        repeat {
            uv_run(uv, UV_RUN_DEFAULT)
            endTurn()
        } while !isStopping && uv_loop_alive(uv) != 0
        isStopping = false
    }

    /// Makes ``run()`` return at the end of this turn. On the loop's thread; others post it to the ``mailbox``.
    public func stop() {
        isStopping = true
        uv_stop(uv)
    }

    /// The monotonic time, read once a turn.
    public var now: Instant {
        if let cachedNow { return cachedNow }
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let now = Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
        cachedNow = now
        return now
    }

    /// Calls the task once before the loop blocks again. The loop keeps it until then.
    public func atTurnEnd(_ task: any TurnEndTask) { ending.add(task) }

    /// Calls the task once at the end of the next turn, before which the loop looks at its sockets without blocking: for
    /// what may wait as long as there is something else to do. The loop keeps it until then.
    public func atNextTurnEnd(_ task: any TurnEndTask) { ending.addLater(task) }

    /// The time is read again when it is next asked for: the loop has slept, or may have.
    func forgetTime() { cachedNow = nil }

    func endTurn() {
        turn &+= 1
        // Where work is left over the loop must not block: the idle handle makes it poll and come back.
        if ending.run() { uv_idle_start(handles.idle) { _ in } } else { uv_idle_stop(handles.idle) }
        cachedNow = nil
    }

    /// A handle of any kind as what all of them begin with.
    static func base<T>(_ handle: UnsafeMutablePointer<T>) -> UnsafeMutablePointer<uv_handle_t> {
        UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_handle_t.self)
    }

    /// Closes every socket, timer and watcher of the loop, without a call to their delegates, and lets them go: for the
    /// end of a program whose delegates hold the loop. Not while the loop runs.
    public func closeAll() {
        uv_walk(
            uv,
            { handle, _ in
                guard let handle, uv_is_closing(handle) == 0 else { return }
                switch uv_handle_get_type(handle) {
                case UV_TCP, UV_POLL, UV_TIMER, UV_SIGNAL:
                    guard let data = uv_handle_get_data(handle) else { return }
                    let owner = Unmanaged<AnyObject>.fromOpaque(data).takeUnretainedValue()
                    (owner as? any LoopOwned)?.loopEnded()
                default:
                    break
                }
            }, nil)
        ending.abandon()
        // Twice, since a call to stop() that nobody has heard yet ends the first at once.
        uv_run(uv, UV_RUN_NOWAIT)
        uv_run(uv, UV_RUN_NOWAIT)
        ending.abandon()
    }

    /// Closes everything and frees the loop, once the resolver's last answers are there.
    private func end() {
        closeAll()
        handles.close()
        uv_run(uv, UV_RUN_DEFAULT)
        ending.abandon()
        uv_loop_close(uv)
    }
}

/// An object behind a libuv handle, which the end of its loop closes.
protocol LoopOwned: AnyObject {
    func loopEnded()
}

/// The loop's own handles: before it blocks, after it has, not to block at all, and for mail.
struct LoopHandles {
    let prepare = UnsafeMutablePointer<uv_prepare_t>.allocate(capacity: 1)
    let check = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
    let idle = UnsafeMutablePointer<uv_idle_t>.allocate(capacity: 1)
    let mail = UnsafeMutablePointer<uv_async_t>.allocate(capacity: 1)

    func open(on loop: UnsafeMutablePointer<uv_loop_t>, for owner: UnsafeMutableRawPointer) {
        uv_prepare_init(loop, prepare)
        uv_check_init(loop, check)
        uv_idle_init(loop, idle)
        prepare.pointee.data = owner
        check.pointee.data = owner
        uv_prepare_start(prepare) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<EventLoop>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.endTurn() }
        }
        uv_check_start(check) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<EventLoop>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.forgetTime() }
        }
        uv_unref(EventLoop.base(prepare))
        uv_unref(EventLoop.base(check))
    }

    func close() {
        uv_close(EventLoop.base(prepare), nil)
        uv_close(EventLoop.base(check), nil)
        uv_close(EventLoop.base(idle), nil)
        uv_close(EventLoop.base(mail), nil)
    }

    func free() {
        prepare.deallocate()
        check.deallocate()
        idle.deallocate()
        mail.deallocate()
    }
}
