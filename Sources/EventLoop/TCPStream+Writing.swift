// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
public import Primitives

extension TCPStream {
    /// Slices that one writev(2) takes.
    private static let vectors = 64
    /// Slices that wait for the socket in one request: as many as libuv keeps without allocating.
    private static let waitingVectors = 4
    /// Bytes that the delegate may fill in within one turn, so that a fast peer cannot hold the loop.
    private static let share = 1 << 20

    /// Queues bytes, to be written at the turn's end or when the socket takes more. How much waits is the caller's to
    /// bound (``queuedBytes``). Nothing is queued after ``finishWriting()`` or on a closed stream.
    public func write(_ bytes: consuming Slice) {
        guard !isClosed, !wantsEnd, writeFailure == 0, !bytes.isEmpty else { return }
        queue.append(bytes, from: loop.chunks)
        scheduleOutput()
    }

    /// Has the delegate fill in output at the turn's end, or when the socket takes more, until it has no more.
    public func setNeedsOutput() {
        guard !needsOutput, !isClosed, !hasSentEnd, writeFailure == 0 else { return }
        needsOutput = true
        scheduleOutput()
    }

    /// Says the end in this direction once everything is written: the peer receives a FIN. Reading goes on.
    public func finishWriting() {
        guard !wantsEnd, !isClosed else { return }
        wantsEnd = true
        scheduleOutput()
    }

    /// Writes the last bytes and lets go of the delegate, for an owner that takes the connection as it is. Reading stops: what
    /// has not been read stays in the kernel.
    /// - Returns: false where the kernel does not take all at once; the stream is closed then.
    public func surrender(behind bytes: consuming Slice) -> Bool {
        stopReading()
        needsOutput = false
        write(bytes)
        flushForClose()
        delegate = nil
        if queuedBytes == 0, isConnected, !isClosed { return true }
        close()
        return false
    }

    /// Has the loop call ``turnEnded()``, unless the stream waits for something that does so.
    func scheduleOutput() {
        guard !isInTurnEnd, !isFlushing, isConnected, request == nil,
            !queue.isEmpty || needsOutput || wantsEnd && !hasSentEnd
        else { return }
        isInTurnEnd = true
        loop.ending.add(self)
    }

    /// The loop's call at the end of a turn.
    func turnEnded() { flush() }

    /// Hands the kernel what there is, as far as it takes it.
    private func flush() {
        guard !isClosed, request == nil, writeFailure == 0 else { return }
        isFlushing = true
        if !queue.isEmpty {
            let written = flushQueue()
            sendEndIfDone()
            if written > 0 { delegate?.tcpStream(self, wrote: written) }
        }
        if needsOutput, !isClosed, request == nil, writeFailure == 0 { flushFilled() }
        sendEndIfDone()
        isFlushing = false
        // What the delegate has asked for from within.
        if !isClosed { scheduleOutput() }
    }

    /// Writes queued slices until none is left or the kernel is full; how many bytes it has taken.
    private func flushQueue() -> Int {
        var written = 0
        while !queue.isEmpty {
            let (taken, offered) = tryWriteQueue()
            guard taken >= 0 || taken == Int(UV_EAGAIN.rawValue) else {
                writeFailed(Int32(truncatingIfNeeded: taken))
                return written
            }
            if taken > 0 {
                queue.removeFirst(taken, to: loop.chunks)
                written += taken
            }
            if taken < offered {
                waitForQueue()
                return written
            }
        }
        return written
    }

    /// One writev(2) of the oldest slices: the bytes that it took, or the error, and the bytes that were there to take.
    /// The end, where it follows, goes in one segment with them.
    private func tryWriteQueue() -> (taken: Int, offered: Int) {
        withUnsafeTemporaryAllocation(of: uv_buf_t.self, capacity: TCPStream.vectors) { vectors in
            let (count, bytes) = queue.layOut(in: vectors)
            if wantsEnd, !needsOutput, bytes == queue.byteCount {
                return (Int(cl_write_last(descriptor, vectors.baseAddress, UInt32(count))), bytes)
            }
            return (Int(uv_try_write(stream, vectors.baseAddress, UInt32(count))), bytes)
        }
    }

    private func waitForQueue() {
        withUnsafeTemporaryAllocation(of: uv_buf_t.self, capacity: TCPStream.waitingVectors) { vectors in
            let (count, bytes) = queue.layOut(in: vectors)
            wait(for: vectors.baseAddress, count: UInt32(count), bytes: bytes)
        }
    }

    /// Has the delegate fill buffers until it has no more, or the kernel is full, or others must have their turn.
    private func flushFilled() {
        var buffer = OutputBuffer(from: loop.carrierBuffers)
        var left = TCPStream.share
        while needsOutput {
            needsOutput = false
            delegate?.tcpStream(self, fill: &buffer)
            guard !isClosed, !buffer.isEmpty else { return }
            needsOutput = true
            let taken = buffer.withUnsafeBytes { tryWrite($0) }
            guard taken >= 0 || taken == UV_EAGAIN.rawValue else {
                writeFailed(taken)
                return
            }
            buffer.removeFirst(max(0, Int(taken)))
            guard buffer.isEmpty else {
                waitForOutput(buffer)
                return
            }
            left -= Int(taken)
            if left <= 0 {
                isInTurnEnd = true
                loop.ending.addLater(self)
                return
            }
        }
    }

    private func tryWrite(_ bytes: UnsafeRawBufferPointer) -> Int32 {
        var vector = TCPStream.vector(bytes)
        return uv_try_write(stream, &vector, 1)
    }

    private func waitForOutput(_ buffer: consuming OutputBuffer) {
        var vector = buffer.withUnsafeBytes { TCPStream.vector($0) }
        // The buffer's bytes stay where they are when it moves.
        output = consume buffer
        wait(for: &vector, count: 1, bytes: vector.len)
    }

    private static func vector(_ bytes: UnsafeRawBufferPointer) -> uv_buf_t {
        let base = UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.assumingMemoryBound(to: CChar.self)
        return uv_buf_t(base: base, len: bytes.count)
    }

    /// Gives libuv what the kernel did not take, and so learns when it takes more.
    private func wait(for vectors: UnsafePointer<uv_buf_t>?, count: UInt32, bytes: Int) {
        let request = loop.writeRequests.lease()
        let status = uv_write(request, stream, vectors, count) { request, status in
            guard let request, let data = request.pointee.handle.pointee.data else { return }
            TCPStream.from(data)._withUnsafeGuaranteedRef { $0.waited(request, status: status) }
        }
        guard status == 0 else {
            loop.writeRequests.giveBack(request)
            writeFailed(status)
            return
        }
        self.request = request
        inFlight = bytes
    }

    /// What waited is written, or failed; on a closed stream this only gives the request back.
    private func waited(_ request: UnsafeMutablePointer<uv_write_t>, status: Int32) {
        loop.writeRequests.giveBack(request)
        self.request = nil
        guard !isClosed else { return }
        guard status == 0 else {
            writeFailed(status)
            return
        }
        if output.take() == nil {
            queue.removeFirst(inFlight, to: loop.chunks)
            delegate?.tcpStream(self, wrote: inFlight)
        }
        flush()
    }

    /// A connection that the peer has reset may have bytes that nobody has read: where the owner reads, they come first.
    private func writeFailed(_ status: Int32) {
        let error = UVError(code: status)
        guard wantsReading, error.isReset || error.isTimeout else {
            fail(error)
            return
        }
        writeFailure = status
        needsOutput = false
        output = nil
        queue.removeAll(to: loop.chunks)
    }

    private func sendEndIfDone() {
        guard wantsEnd, !hasSentEnd, !isClosed, request == nil, queue.isEmpty, !needsOutput, writeFailure == 0 else {
            return
        }
        hasSentEnd = true
        // It fails only where the connection is gone, which reading or the next write tells.
        _ = cl_shutdown_write(descriptor)
    }

    /// The last try, for what was written in the turn that closes the stream.
    func flushForClose() {
        guard isConnected, request == nil, writeFailure == 0 else { return }
        while !queue.isEmpty {
            let (taken, offered) = tryWriteQueue()
            guard taken > 0 else { return }
            queue.removeFirst(taken, to: loop.chunks)
            if taken < offered { return }
        }
    }
}
