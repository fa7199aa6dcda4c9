// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
public import Primitives

extension UDPSocket {
    /// The largest payload over IPv4.
    private static let largest = 65_507
    /// Bytes and datagrams that one message for the kernel to cut may have (UDP_MAX_SEGMENTS).
    private static let cutBytes: UInt32 = 65_000
    private static let cutCount: UInt32 = 64

    /// Copies a datagram, to be sent at the turn's end. Datagrams leave in order; what the kernel does not take then is
    /// dropped and counted, never kept: ``dropped``.
    ///
    /// - Parameters:
    ///   - address: the receiver; nil for the peer of a connected socket.
    ///   - local: the address of this host that it leaves from, on a socket that takes what comes to any; nil for the one
    ///     that the system prefers. What has no such address any more does not leave.
    public func send(_ datagram: RawSpan, to address: TransportAddress? = nil, from local: IPAddress? = nil) {
        guard descriptor >= 0 else { return }
        let size = datagram.byteCount
        guard size <= UDPSocket.largest else {
            dropped += 1
            return
        }
        if let batch, !fits(size, to: address, from: local, in: batch) { sendBatch() }
        let target: UnsafeMutablePointer<DatagramBatch>
        if let batch {
            target = batch
        } else {
            target = loop.datagrams.leaseBatch(for: self)
            batch = target
        }
        if extends(target, by: size, to: address, from: local) {
            target.extendLast(by: size)
        } else {
            target.append(size: size, to: address, from: local, mayGrow: size > 0 && size <= segmentLimit)
            lastAddress = address
            lastLocal = local
        }
        datagram.withUnsafeBytes { source in
            guard let base = source.baseAddress else { return }
            (target.bytes + target.pointee.byteCount).copyMemory(from: base, byteCount: size)
        }
        target.pointee.byteCount += size
    }

    private func fits(
        _ size: Int, to address: TransportAddress?, from local: IPAddress?,
        in batch: UnsafeMutablePointer<DatagramBatch>
    ) -> Bool {
        guard batch.pointee.byteCount + size <= DatagramBatch.bytes else { return false }
        return batch.pointee.count < DatagramBatch.messages || extends(batch, by: size, to: address, from: local)
    }

    /// Whether the datagram can be part of the last message: same receiver and sender, same size as its others or
    /// shorter, which then ends it.
    private func extends(
        _ batch: UnsafeMutablePointer<DatagramBatch>, by size: Int, to address: TransportAddress?,
        from local: IPAddress?
    ) -> Bool {
        guard !batch.pointee.isLastEnded, size > 0, address == lastAddress, local == lastLocal else { return false }
        let last = batch.messages[batch.pointee.count - 1]
        return size <= last.segment && last.length + UInt32(size) <= UDPSocket.cutBytes
            && last.length < last.segment * UDPSocket.cutCount
    }

    /// Hands the batch to the kernel and forgets it.
    func sendBatch() {
        guard let batch else { return }
        self.batch = nil
        transmit(batch.messages, batch.pointee.count, batch.bytes)
        loop.datagrams.giveBack(batch)
    }

    private func transmit(
        _ messages: UnsafeMutablePointer<cl_outgoing>, _ count: Int, _ bytes: UnsafeMutableRawPointer
    ) {
        var next = 0
        // The message that was tried again after an error which was not its own.
        var retried = -1
        while next < count {
            let sent = cl_send(descriptor, bytes, messages + next, UInt32(count - next))
            if sent > 0 {
                next += Int(sent)
                continue
            }
            switch UVError(code: sent) {
            case let error where error.code == UV_EINTR.rawValue:
                continue
            case let error where error.code == UV_EAGAIN.rawValue || error.isShortage:
                for index in next..<count { dropped += messages[index].datagrams }
                return
            case let error where error.isOfPeer && retried != next:
                // Told by an ICMP message about what was sent before; this message has not been tried.
                retried = next
                note(error)
            case let error where messages[next].datagrams > 1 && error.isOfCutting:
                let lost = dropped
                transmitApart(messages[next], bytes)
                // Where nothing leaves apart either, cutting was not what was wrong.
                if dropped - lost < messages[next].datagrams {
                    segmentLimit = error.code == UV_EIO.rawValue ? 0 : min(segmentLimit, messages[next].segment - 1)
                }
                next += 1
            default:
                dropped += messages[next].datagrams
                next += 1
            }
        }
    }

    /// Sends the datagrams of a message that the kernel would not cut.
    private func transmitApart(_ message: cl_outgoing, _ bytes: UnsafeMutableRawPointer) {
        withUnsafeTemporaryAllocation(of: cl_outgoing.self, capacity: message.datagrams) { parts in
            guard let base = parts.baseAddress else { return }
            for index in 0..<parts.count {
                var part = message
                part.offset += UInt32(index) * message.segment
                part.length = min(message.segment, message.length - UInt32(index) * message.segment)
                part.segment = part.length
                parts.initializeElement(at: index, to: part)
            }
            transmit(base, parts.count, bytes)
        }
    }

    private func note(_ error: UVError) {
        if failure == 0 { loop.datagrams.hasFailed(self) }
        failure = error.code
    }
}

extension cl_outgoing {
    /// Datagrams that the kernel makes of it.
    fileprivate var datagrams: Int { segment > 0 ? Int((length + segment - 1) / segment) : 1 }
}

extension UVError {
    /// What an ICMP message about an earlier datagram may say.
    fileprivate var isOfPeer: Bool { isRefused || isUnreachable }
    /// What the kernel says of a message that it cannot cut: no checksum offload, larger than the path takes, too old.
    fileprivate var isOfCutting: Bool {
        [UV_EIO, UV_EINVAL, UV_EMSGSIZE, UV_ENOTSUP, UV_ENOPROTOOPT].contains { $0.rawValue == code }
    }
}

extension UnsafeMutablePointer<DatagramBatch> {
    /// Makes the last message one datagram longer.
    fileprivate func extendLast(by size: Int) {
        let last = messages + (pointee.count - 1)
        last.pointee.length += UInt32(size)
        if size < last.pointee.segment { pointee.isLastEnded = true }
    }

    /// Adds a message of one datagram, whose bytes follow those of the others.
    fileprivate func append(size: Int, to address: TransportAddress?, from local: IPAddress?, mayGrow: Bool) {
        var message = cl_outgoing()
        message.offset = UInt32(pointee.byteCount)
        message.length = UInt32(size)
        message.segment = UInt32(size)
        if let address {
            message.address_length = withUnsafeMutableBytes(of: &message.address) {
                SocketAddress.write(address, to: $0)
            }
        }
        if let local { message.local.set(local) }
        (messages + pointee.count).initialize(to: message)
        pointee.count += 1
        pointee.isLastEnded = !mayGrow
    }
}
