// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Primitives

extension TCPStream {
    /// Bytes that one stream reads in one turn at most, so that a busy socket does not starve the others.
    private static let share: Int32 = 256 << 10
    /// Bytes of a 64 KiB buffer that are read into: what comes in one read leaves in one segment, to the next socket as it
    /// is or in a frame, sealed (65,160 bytes, as the tunnel has it). The last kibibyte would cost a segment more.
    private static let oneSegment = 65_024

    /// Tells the delegate what comes, from now on. Costs nothing where it did so already.
    public func startReading() {
        guard !wantsReading, !isClosed, !hasReceivedEnd else { return }
        wantsReading = true
        if !isReading, isConnected { beginReading() }
    }

    /// Leaves what comes in the kernel. libuv is told only when something does come: where reading is started again
    /// before that, neither costs a system call.
    public func stopReading() { wantsReading = false }

    func beginReading() {
        let status = uv_read_start(stream, tcpStreamNeedsBuffer, tcpStreamRead)
        guard status == 0 else {
            fail(UVError(code: status))
            return
        }
        isReading = true
    }

    fileprivate func leaseBuffer(into buffer: UnsafeMutablePointer<uv_buf_t>) {
        if readTurn != loop.turn {
            readTurn = loop.turn
            bytesInTurn = 0
        }
        guard wantsReading, bytesInTurn < TCPStream.share else {
            buffer.pointee = uv_buf_t()
            return
        }
        let most = readPool === loop.buffers ? TCPStream.oneSegment : readPool.capacity
        var slice = readPool.lease()
        buffer.pointee = slice.withUnsafeMutableBytes { room in
            uv_buf_t(base: room.baseAddress?.assumingMemoryBound(to: CChar.self), len: most)
        }
        reading = consume slice
    }

    fileprivate func read(_ result: Int, intoBuffer hasBuffer: Bool) {
        guard var slice = reading.take() else {
            if hasBuffer { return }
            readNothing(result)
            return
        }
        if result > 0 {
            bytesInTurn &+= Int32(truncatingIfNeeded: result)
            slice.truncate(to: result)
            delegate?.tcpStream(self, received: slice)
        } else if result < 0 {
            readEnded(result)
        }
    }

    /// No buffer was offered: reading pauses until the next turn, or was stopped, or libuv says by itself that the
    /// connection is gone.
    private func readNothing(_ result: Int) {
        if result == Int(UV_EOF.rawValue) {
            hungUp()
        } else if !wantsReading {
            isReading = false
            uv_read_stop(stream)
        }
    }

    private func readEnded(_ result: Int) {
        isReading = false
        wantsReading = false
        guard result == Int(UV_EOF.rawValue), writeFailure == 0 else {
            fail(UVError(code: writeFailure != 0 ? writeFailure : Int32(truncatingIfNeeded: result)))
            return
        }
        hasReceivedEnd = true
        delegate?.tcpStreamReceivedEnd(self)
    }

    /// libuv takes a hang-up behind the last bytes for the end of the stream, but a RST hangs up too, and must not look
    /// like a FIN. EPIPE stands for a RST behind a FIN: everything has come, and the next write will tell.
    private func hungUp() {
        let error = cl_take_error(descriptor)
        let isEnd = error == 0 || error == UV_EPIPE.rawValue
        readEnded(isEnd ? Int(UV_EOF.rawValue) : Int(error))
    }
}

private func tcpStreamNeedsBuffer(
    _ handle: UnsafeMutablePointer<uv_handle_t>?, _ suggested: Int, _ buffer: UnsafeMutablePointer<uv_buf_t>?
) {
    guard let data = handle?.pointee.data, let buffer else { return }
    TCPStream.from(data)._withUnsafeGuaranteedRef { $0.leaseBuffer(into: buffer) }
}

private func tcpStreamRead(
    _ stream: UnsafeMutablePointer<uv_stream_t>?, _ result: Int, _ buffer: UnsafePointer<uv_buf_t>?
) {
    guard let data = stream?.pointee.data else { return }
    let hasBuffer = buffer?.pointee.base != nil
    TCPStream.from(data)._withUnsafeGuaranteedRef { $0.read(result, intoBuffer: hasBuffer) }
}
