// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
public import Primitives

/// Is told what comes to a ``UDPSocket``. It may close this socket or any other in each call.
public protocol UDPSocketDelegate: AnyObject {
    /// One datagram; its bytes are gone after the call.
    ///
    /// - Parameter local: the address of this host that it came to, where the socket takes what comes to any; nil on a
    ///   socket that has one address. An answer is to leave from there (``UDPSocket/send(_:to:from:)``): from any other
    ///   address the peer does not take it.
    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?)
    /// The system has told of an error, on a connected socket most often that the peer's port is closed (ICMP). The
    /// socket lives on.
    func udpSocket(_ socket: UDPSocket, failed error: UVError)
    /// One datagram that was meant for another host perhaps, on a socket that takes such (``UDPSocket/takeForeign()``),
    /// in the place of the call for others; its bytes are gone after the call.
    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress,
        meantFor destination: TransportAddress)
}

extension UDPSocketDelegate {
    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress,
        meantFor destination: TransportAddress
    ) {}
}

/// A UDP socket that receives and sends in batches: what is sent in a turn goes out at its end, with as few calls and as
/// few walks through the kernel as can be.
///
/// It lives, and keeps its delegate alive, until it is closed or its loop ends.
public final class UDPSocket {
    unowned(unsafe) let loop: EventLoop
    private var delegate: (any UDPSocketDelegate)?
    private let watcher: DescriptorWatcher

    /// Datagrams that were given to ``send(_:to:from:)`` and did not leave, since the socket was made.
    public internal(set) var dropped = 0

    /// What is sent at the turn's end, and where the last of it goes and comes from.
    var batch: UnsafeMutablePointer<DatagramBatch>?
    var lastAddress: TransportAddress?
    var lastLocal: IPAddress?
    /// The largest datagrams that the kernel has not refused to cut from a larger message (UDP_SEGMENT).
    var segmentLimit = UInt32(DatagramBatch.bytes)
    /// To be told at the turn's end.
    var failure: Int32 = 0

    /// Each message tells where it was meant to go.
    var takesForeign = false
    private var wantsReading = true
    private var isReading = false

    /// Messages that one socket receives in one turn at most, in calls of ``DatagramArena/slots``.
    private static let share = 4

    /// A socket at an address of this host, for any peer. It receives from now on.
    ///
    /// With port 0 the system chooses the port; IPv6 addresses take IPv6 only. With an unspecified address (0.0.0.0, ::)
    /// it takes what comes to any address of the host, and tells to which.
    public convenience init(
        loop: EventLoop, bind address: TransportAddress, delegate: any UDPSocketDelegate
    ) throws(UVError) {
        try self.init(loop: loop, address: address, connects: false, delegate: delegate)
    }

    /// A socket for one peer, from whom alone it receives, from now on.
    public convenience init(
        loop: EventLoop, connectedTo address: TransportAddress, delegate: any UDPSocketDelegate
    ) throws(UVError) {
        try self.init(loop: loop, address: address, connects: true, delegate: delegate)
    }

    private convenience init(
        loop: EventLoop, address: TransportAddress, connects: Bool, delegate: any UDPSocketDelegate
    ) throws(UVError) {
        let tellsLocal = !connects && address.ip.isUnspecified
        let descriptor = SocketAddress(address).withBytes {
            cl_udp_socket($0, $1, connects ? 1 : 0, tellsLocal ? 1 : 0)
        }
        try self.init(loop: loop, descriptor: descriptor, delegate: delegate)
    }

    /// Takes a socket over, or throws what it is instead.
    init(loop: EventLoop, descriptor: Int32, delegate: any UDPSocketDelegate) throws(UVError) {
        self.loop = loop
        self.delegate = delegate
        watcher = try DescriptorWatcher(adopting: UVError.check(descriptor), loop: loop)
        watcher.reader = self
        beginReading()
    }

    /// -1 once closed.
    var descriptor: Int32 { watcher.descriptor }

    /// The address with the port that the system has chosen; nil once closed.
    public var localAddress: TransportAddress? { SocketAddress.local(of: descriptor) }

    /// The user whose socket of this host has sent a datagram to this one; nil where there is none any more, or where the
    /// system does not tell. Two system calls or more: not for every datagram.
    public func user(of sender: TransportAddress) -> UInt32? {
        guard let localAddress, localAddress.ip.family == sender.ip.family else { return nil }
        let user = SocketAddress(sender).withBytes { address, _ in
            SocketAddress(localAddress).withBytes { peer, _ in cl_udp_user(address, peer) }
        }
        return UInt32(exactly: user)
    }

    /// Hands out what comes, from now on, as it does at first.
    public func startReading() {
        guard !wantsReading, descriptor >= 0 else { return }
        wantsReading = true
        if !isReading { beginReading() }
    }

    /// Leaves what comes in the kernel, which drops what does not fit its buffer. What was received together with the
    /// datagram at hand is still handed out.
    public func stopReading() { wantsReading = false }

    /// Sends what was collected and closes the socket. No delegate call follows.
    public func close() {
        guard descriptor >= 0 else { return }
        sendBatch()
        delegate = nil
        wantsReading = false
        watcher.close()
    }

    private func beginReading() {
        isReading = true
        watcher.start()
    }
}

extension UDPSocket: DescriptorReader {
    func loopEnded() { close() }

    func descriptorReady(_ status: Int32) {
        guard wantsReading else {
            isReading = false
            watcher.stop()
            return
        }
        guard status == 0 else {
            // libuv stops polling at any error, such as an ICMP message on a connected socket.
            beginReading()
            tellFailure(cl_take_error(descriptor))
            return
        }
        receive()
    }

    private func receive() {
        let arena = loop.datagrams
        for _ in 0..<UDPSocket.share {
            guard descriptor >= 0, wantsReading else { return }
            let count = cl_receive(
                descriptor, arena.bytes, UInt32(DatagramArena.slotSize), arena.messages, UInt32(DatagramArena.slots))
            guard count > 0 else {
                if count != UV_EAGAIN.rawValue, count != UV_EINTR.rawValue { tellFailure(count) }
                return
            }
            for index in 0..<Int(count) {
                deliver(arena.messages + index, arena.bytes + index * DatagramArena.slotSize)
            }
            if count < DatagramArena.slots { return }
        }
    }

    /// Hands out the datagrams of one message, of which the kernel may have merged many.
    private func deliver(_ message: UnsafeMutablePointer<cl_incoming>, _ bytes: UnsafeMutableRawPointer) {
        let address = withUnsafeBytes(of: &message.pointee.address) { $0.baseAddress.flatMap(SocketAddress.read) }
        guard let address else { return }
        let local = message.pointee.local.address(of: address.ip.family)
        let destination =
            takesForeign
            ? withUnsafeBytes(of: &message.pointee.destination) { $0.baseAddress.flatMap(SocketAddress.read) } : nil
        let length = Int(message.pointee.length)
        let segment = message.pointee.segment > 0 ? Int(message.pointee.segment) : length
        var start = 0
        repeat {
            let size = min(segment, length - start)
            let datagram = RawSpan(_unsafeStart: bytes + start, byteCount: size)
            if let destination {
                delegate?.udpSocket(self, received: datagram, from: address, meantFor: destination)
            } else {
                delegate?.udpSocket(self, received: datagram, from: address, to: local)
            }
            start += size
        } while start < length
    }

    /// Tells of what happened while sending.
    func tellFailure() {
        let failure = self.failure
        self.failure = 0
        tellFailure(failure)
    }

    private func tellFailure(_ status: Int32) {
        if status < 0 { delegate?.udpSocket(self, failed: UVError(code: status)) }
    }
}
