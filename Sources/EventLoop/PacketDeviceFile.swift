// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
public import Primitives

/// The descriptor of a TUN device, which lives as long as it is open here or anywhere else; its address and its routes go
/// with it.
public struct PacketDeviceFile: ~Copyable {
    /// The interface's name.
    public let name: String
    /// Whether the kernel gives large UDP packets for the receiver's kernel to cut, and takes such (Linux 6.2 and later).
    public let takesLargeUDP: Bool
    /// -1 once somebody else has it.
    private var descriptor: Int32

    /// The virtio_net_hdr before each packet, numbers little-endian.
    public typealias Header = InlineArray<10, UInt8>
    /// Bytes of it.
    public static let headerSize = Int(CL_OFFLOAD_HEADER)

    /// Makes a device: with the rights of CAP_NET_ADMIN. A `%d` in the name becomes the first number that is free. One of that name that is there already is an error (EBUSY).
    public static func open(named name: String) throws(UVError) -> PacketDeviceFile {
        try PacketDeviceFile(adopting: try UVError.check(cl_packet_device_open(name)))
    }

    /// Takes over a descriptor, perhaps from another process; it is closed where it is not of a device as ``open(named:)``
    /// makes them.
    public init(adopting descriptor: Int32) throws(UVError) {
        var text = [CChar](repeating: 0, count: Int(CL_INTERFACE_NAME))
        var offload: UInt32 = 0
        let status = cl_packet_device_adopt(descriptor, &text, &offload)
        guard status == 0 else {
            Glibc.close(descriptor)
            throw UVError(code: status)
        }
        self.descriptor = descriptor
        name = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        takesLargeUDP = offload & 2 != 0
    }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    /// Gives the device an address, with the route of its prefix, and an MTU in bytes, and brings it up: with the rights of
    /// CAP_NET_ADMIN.
    public borrowing func configure(address: IPAddress, prefix: Int, mtu: Int) throws(UVError) {
        guard address.family == .v6 else { throw .invalidArgument }
        let status = cl_packet_device_configure(
            name, address.bytes, UInt32(clamping: prefix), UInt32(clamping: mtu))
        try UVError.check(status)
    }

    /// Has the kernel give no packet that is larger than the MTU, or whose checksum is still to be made: then the header before
    /// each says nothing.
    public borrowing func refuseOffload() throws(UVError) {
        try UVError.check(cl_packet_device_refuse_offload(descriptor))
    }

    /// The descriptor, which is the caller's from here on.
    public consuming func takeDescriptor() -> Int32 {
        defer { descriptor = -1 }
        return descriptor
    }
}
