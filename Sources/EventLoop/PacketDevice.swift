// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
public import Primitives

/// Is told what comes to a ``PacketDevice``. It may close the device in each call.
public protocol PacketDeviceDelegate: AnyObject {
    /// One packet of this host's, behind its virtio_net_hdr of ``PacketDeviceFile/headerSize`` bytes. The slice is the
    /// delegate's.
    func packetDevice(_ device: PacketDevice, received packet: consuming Slice)
    /// The device is gone, and closed: somebody has removed the interface. The last call.
    func packetDevice(_ device: PacketDevice, failed error: UVError)
}

/// A TUN device: the packets that this host sends there come in, and those that are written are received by this host.
///
/// It lives, and keeps its delegate alive, until it is closed or its loop ends; the interface goes with it unless somebody
/// else holds its descriptor.
public final class PacketDevice {
    /// The interface's name.
    public let name: String
    /// As in ``PacketDeviceFile/takesLargeUDP``.
    public let takesLargeUDP: Bool
    /// Packets that the kernel did not take.
    public private(set) var refused: UInt64 = 0

    private unowned(unsafe) let loop: EventLoop
    private var delegate: (any PacketDeviceDelegate)?
    private let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    /// -1 once closed.
    private var descriptor: Int32
    private var wantsReading = true
    private var isReading = false

    /// What is read in one turn at most: packets, and bytes of them, so that neither many small ones nor few large ones
    /// starve the sockets.
    private static let mostPackets = 128
    private static let mostBytes = 256 << 10

    /// Reads from now on.
    public init(
        loop: EventLoop, file: consuming PacketDeviceFile, delegate: any PacketDeviceDelegate
    ) throws(UVError) {
        self.loop = loop
        self.delegate = delegate
        name = file.name
        takesLargeUDP = file.takesLargeUDP
        descriptor = file.takeDescriptor()
        let status = uv_poll_init(loop.uv, handle, descriptor)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
        beginReading()
    }

    deinit { handle.deallocate() }

    /// Hands out what comes, from now on, as it does at first.
    public func startReading() {
        guard !wantsReading, descriptor >= 0 else { return }
        wantsReading = true
        if !isReading { beginReading() }
    }

    /// Leaves what comes in the kernel, whose queue then fills. The packet at hand is the last.
    public func stopReading() { wantsReading = false }

    /// Has this host receive a packet. Header and packet are the caller's word: where the header can't be right for the packet
    /// the kernel refuses it, which is counted.
    public func write(_ header: PacketDeviceFile.Header, _ packet: RawSpan) {
        guard descriptor >= 0 else { return }
        let status = withUnsafeBytes(of: header) { header in
            packet.withUnsafeBytes { packet in
                cl_packet_device_write(
                    descriptor, header.baseAddress, packet.baseAddress, UInt32(clamping: packet.count))
            }
        }
        if status < 0 { refused &+= 1 }
    }

    /// Closes the device. No delegate call follows.
    public func close() {
        guard descriptor >= 0 else { return }
        delegate = nil
        wantsReading = false
        let descriptor = self.descriptor
        self.descriptor = -1
        uv_close(EventLoop.base(handle)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<PacketDevice>.fromOpaque(data).release()
        }
        Glibc.close(descriptor)
    }

    private func beginReading() {
        isReading = true
        uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, status, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<PacketDevice>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.ready(status) }
        }
    }

    private func ready(_ status: Int32) {
        guard status == 0 else { return fail(UVError(code: status)) }
        var bytes = 0
        for _ in 0..<PacketDevice.mostPackets where bytes < PacketDevice.mostBytes {
            guard descriptor >= 0 else { return }
            guard wantsReading else {
                isReading = false
                uv_poll_stop(handle)
                return
            }
            var packet = loop.buffers.lease()
            let count = packet.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else {
                let error = count == 0 ? UV_EIO.rawValue : -errno
                if error != UV_EAGAIN.rawValue, error != UV_EINTR.rawValue { fail(UVError(code: error)) }
                return
            }
            bytes += count
            packet.truncate(to: count)
            delegate?.packetDevice(self, received: packet)
        }
    }

    private func fail(_ error: UVError) {
        let delegate = self.delegate
        close()
        delegate?.packetDevice(self, failed: error)
    }
}

extension PacketDevice: LoopOwned {
    func loopEnded() { close() }
}
