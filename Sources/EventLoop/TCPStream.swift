// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
public import Primitives

/// A connected stream socket, over TCP or over a Unix path.
///
/// It is born by ``connect(loop:to:from:readPool:delegate:)``, ``connectUnix(loop:path:readPool:delegate:)`` or a
/// listener, and lives until ``close()``, ``reset()``, a failure, or its loop's end, whoever holds it. Until then it
/// keeps its delegate alive. While nothing moves it holds no buffer.
///
/// What is written goes out once a turn, at its end. Two ways to write, which may be used in turn: ``write(_:)`` queues
/// slices; ``setNeedsOutput()`` has the delegate fill a buffer when the socket takes more.
public final class TCPStream {
    /// Who is told. An accepted stream has none until its receiver sets it.
    public var delegate: (any TCPStreamDelegate)?

    unowned(unsafe) let loop: EventLoop
    let readPool: BufferPool
    let handle: UnsafeMutablePointer<uv_tcp_t>

    /// The buffer that libuv reads into, from its alloc callback to its read callback.
    var reading: Slice?
    /// What ``write(_:)`` was given and the kernel has not taken.
    var queue = SliceQueue()
    /// What the delegate has filled in and the kernel has not taken.
    var output: OutputBuffer?
    /// Waits for the socket to take more: `inFlight` bytes, the first of `queue` or all of `output`.
    var request: UnsafeMutablePointer<uv_write_t>?
    var inFlight = 0
    /// The next stream in one of the lists of ``TurnEnd``.
    var nextInTurnEnd: Unmanaged<TCPStream>?

    /// -1 once closed.
    var descriptor: Int32
    /// The error of a write that failed while there may still be something to read.
    var writeFailure: Int32 = 0
    /// What ``silenceBeforeFailure`` tells; negative without it.
    private var silence: Int32 = -1
    /// The turn that `bytesInTurn` counts.
    var readTurn: UInt32 = 0
    var bytesInTurn: Int32 = 0

    /// Connected, not only connecting.
    var isConnected = false
    /// Whether the owner wants to read, and whether libuv does. The second follows the first only when it must.
    var wantsReading = false
    var isReading = false
    var hasReceivedEnd = false
    var needsOutput = false
    var wantsEnd = false
    var hasSentEnd = false
    /// Within ``flush()``, which looks itself whether something is left to do.
    var isFlushing = false
    /// In a list of ``TurnEnd``, and whether that is all that keeps the object alive.
    var isInTurnEnd = false
    var isOnlyInTurnEnd = false

    /// Whether the stream was closed, was reset, or has failed.
    public var isClosed: Bool { descriptor < 0 }

    /// Whether the kernel takes no more at present: what is written waits until it does.
    public var isBlocked: Bool { request != nil }

    /// Bytes that were written and that the kernel has not taken.
    public var queuedBytes: Int {
        let waiting = queue.byteCount
        // Not `output?.count`: the buffer cannot be copied out.
        switch output {
        case .some(let output): return waiting + output.count
        case .none: return waiting
        }
    }

    /// Takes a socket over. From here to its close callback libuv's handle keeps the object.
    init(loop: EventLoop, readPool: BufferPool, descriptor: Int32) {
        self.loop = loop
        self.readPool = readPool
        self.descriptor = descriptor
        handle = .allocate(capacity: 1)
        uv_tcp_init(loop.uv, handle)
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { handle.deallocate() }

    var stream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_stream_t.self)
    }

    static func from(_ data: UnsafeMutableRawPointer) -> Unmanaged<TCPStream> { .fromOpaque(data) }

    // MARK: The end

    /// Closes the socket. What was written and not yet handed to the kernel gets one try, and the kernel sends what it
    /// has. No delegate call follows. Does nothing on a closed stream.
    public func close() {
        guard !isClosed else { return }
        flushForClose()
        end(resetting: false)
    }

    /// Closes the socket with a RST: the peer sees an error, and what was written may be lost. No delegate call follows.
    public func reset() { end(resetting: true) }

    /// The last call to the delegate.
    func fail(_ error: UVError) {
        let delegate = self.delegate
        if error.isTimeout { silence = cl_silence(descriptor) }
        end(resetting: false)
        delegate?.tcpStream(self, failed: error)
    }

    func end(resetting: Bool) {
        guard !isClosed else { return }
        descriptor = -1
        reading = nil
        output = nil
        queue.removeAll(to: loop.chunks)
        wantsReading = false
        needsOutput = false
        if !resetting || uv_tcp_close_reset(handle, tcpStreamClosed) != 0 {
            uv_close(EventLoop.base(handle), tcpStreamClosed)
        }
        delegate = nil
    }

    /// libuv knows the handle no more.
    fileprivate func closed() {
        if isInTurnEnd { isOnlyInTurnEnd = true } else { Unmanaged.passUnretained(self).release() }
    }

    /// For how long the peer's kernel had confirmed nothing when the kernel gave the stream up; nil where it failed
    /// otherwise. A short time tells of a peer that is there, and whose program takes nothing.
    public var silenceBeforeFailure: Duration? { silence < 0 ? nil : .milliseconds(Int64(silence)) }

    /// Whether the kernel has given the connection up, by the peer's RST most often. For an owner that does not read at
    /// present, and so is not told: a system call each time. False once closed, and after a FIN, behind which the peer may
    /// still listen.
    public var isDisconnected: Bool { !isClosed && cl_is_disconnected(descriptor) == 1 }

    // MARK: Options

    /// The address on this side; nil for a Unix path or once closed.
    public var localAddress: TransportAddress? { SocketAddress.local(of: descriptor) }
    /// The peer's address; nil for a Unix path, while connecting, or once closed.
    public var remoteAddress: TransportAddress? { SocketAddress.remote(of: descriptor) }

    /// The user who has connected to a Unix path of this process; nil where that is not known.
    public var peerUser: UInt32? { UInt32(exactly: cl_unix_peer_user(descriptor)) }

    /// Whether small writes go out at once (TCP_NODELAY). True at first.
    public func setNoDelay(_ on: Bool) { _ = cl_set_no_delay(descriptor, on ? 1 : 0) }

    /// Probes a silent peer after `idle`, in whole seconds: three times, each after a third of it. Zero turns it off.
    public func setKeepAlive(_ idle: Duration) {
        _ = cl_set_keep_alive(descriptor, UInt32(clamping: (idle.millisecondsRoundedUp + 999) / 1000))
    }

    /// Fails the stream when what was sent stays unacknowledged for so long (RFC 5482). Zero is the system's default.
    public func setUserTimeout(_ timeout: Duration) {
        _ = cl_set_user_timeout(descriptor, UInt32(clamping: min(timeout.millisecondsRoundedUp, Int64(Int32.max))))
    }

    /// Lets the socket be writable only while fewer bytes than this wait unsent in the kernel (TCP_NOTSENT_LOWAT), so
    /// that what is urgent does not queue behind what is not.
    public func setNotSentLowat(_ bytes: Int) {
        _ = cl_set_not_sent_lowat(descriptor, UInt32(clamping: min(bytes, Int(Int32.max))))
    }
}

extension TCPStream: LoopOwned {
    func loopEnded() { end(resetting: false) }
}

private func tcpStreamClosed(_ handle: UnsafeMutablePointer<uv_handle_t>?) {
    guard let data = handle?.pointee.data else { return }
    TCPStream.from(data)._withUnsafeGuaranteedRef { $0.closed() }
}
