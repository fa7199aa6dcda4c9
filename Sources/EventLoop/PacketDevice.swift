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
    private let watcher: DescriptorWatcher
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
        watcher = try DescriptorWatcher(adopting: file.takeDescriptor(), loop: loop)
        watcher.reader = self
        beginReading()
    }

    /// Hands out what comes, from now on, as it does at first.
    public func startReading() {
        guard !wantsReading, watcher.isOpen else { return }
        wantsReading = true
        if !isReading { beginReading() }
    }

    /// Leaves what comes in the kernel, whose queue then fills. The packet at hand is the last.
    public func stopReading() { wantsReading = false }

    /// Has this host receive a packet. Header and packet are the caller's word: where the header can't be right for the packet
    /// the kernel refuses it, which is counted.
    public func write(_ header: PacketDeviceFile.Header, _ packet: RawSpan) {
        guard watcher.isOpen else { return }
        let status = withUnsafeBytes(of: header) { header in
            packet.withUnsafeBytes { packet in
                cl_packet_device_write(
                    watcher.descriptor, header.baseAddress, packet.baseAddress, UInt32(clamping: packet.count))
            }
        }
        if status < 0 { refused &+= 1 }
    }

    /// Closes the device. No delegate call follows.
    public func close() {
        delegate = nil
        wantsReading = false
        watcher.close()
    }

    private func beginReading() {
        isReading = true
        watcher.start()
    }

    private func fail(_ error: UVError) {
        let delegate = self.delegate
        close()
        delegate?.packetDevice(self, failed: error)
    }
}

extension PacketDevice: DescriptorReader {
    func loopEnded() { close() }

    func descriptorReady(_ status: Int32) {
        guard status == 0 else { return fail(UVError(code: status)) }
        var bytes = 0
        for _ in 0..<PacketDevice.mostPackets where bytes < PacketDevice.mostBytes {
            guard watcher.isOpen else { return }
            guard wantsReading else {
                isReading = false
                watcher.stop()
                return
            }
            var packet = loop.buffers.lease()
            let count = packet.withUnsafeMutableBytes { read(watcher.descriptor, $0.baseAddress, $0.count) }
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
}
