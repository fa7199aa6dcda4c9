// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import Primitives

/// A `sockaddr_in` or `sockaddr_in6` as raw bytes, laid out as the kernel wants it.
struct SocketAddress {
    /// Room for the larger of the two, with the 28 bytes in front.
    private var storage: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    /// Bytes that the kernel is told of.
    private(set) var length: UInt32 = 0

    /// All zero: room for an answer.
    init() {}

    init(_ address: TransportAddress) {
        length = withUnsafeMutableBytes(of: &storage) { SocketAddress.write(address, to: $0) }
    }

    /// Lays an address out at the beginning of 28 bytes and answers how many of them it takes.
    static func write(_ address: TransportAddress, to room: UnsafeMutableRawBufferPointer) -> UInt32 {
        room.storeBytes(of: address.port.bigEndian, toByteOffset: 2, as: UInt16.self)
        switch address.ip.family {
        case .v4:
            room.storeBytes(of: UInt16(AF_INET), as: UInt16.self)
            let value = UInt32(truncatingIfNeeded: address.ip.value)
            room.storeBytes(of: value.bigEndian, toByteOffset: 4, as: UInt32.self)
            room.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
            return 16
        case .v6:
            room.storeBytes(of: UInt16(AF_INET6), as: UInt16.self)
            room.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
            room.storeBytes(of: address.ip.value.bigEndian, toByteOffset: 8, as: UInt128.self)
            room.storeBytes(of: address.ip.scope, toByteOffset: 24, as: UInt32.self)
            return 28
        }
    }

    /// What the kernel has laid out; nil for another family.
    static func read(_ bytes: UnsafeRawPointer) -> TransportAddress? {
        let port = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
        switch Int32(bytes.loadUnaligned(as: UInt16.self)) {
        case AF_INET:
            let value = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            return TransportAddress(IPAddress(v4: value), port: port)
        case AF_INET6:
            let value = UInt128(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt128.self))
            let scope = bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
            return TransportAddress(IPAddress(v6: value, scope: scope), port: port)
        default:
            return nil
        }
    }

    var transportAddress: TransportAddress? {
        withUnsafeBytes(of: storage) { $0.baseAddress.flatMap(SocketAddress.read) }
    }

    /// For the kernel to read.
    func withBytes<R>(_ body: (UnsafeRawPointer?, UInt32) -> R) -> R {
        withUnsafeBytes(of: storage) { body($0.baseAddress, length) }
    }

    /// For the kernel to write.
    mutating func withMutableBytes<R>(_ body: (UnsafeMutableRawPointer?) -> R) -> R {
        withUnsafeMutableBytes(of: &storage) { body($0.baseAddress) }
    }

    /// The address that a socket has on this side, or nil.
    static func local(of descriptor: Int32) -> TransportAddress? { ask(getsockname, descriptor) }
    /// The address that a socket is connected to, or nil.
    static func remote(of descriptor: Int32) -> TransportAddress? { ask(getpeername, descriptor) }

    private typealias Question = (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32

    private static func ask(_ question: Question, _ descriptor: Int32) -> TransportAddress? {
        var answer = SocketAddress()
        let status = withUnsafeMutableBytes(of: &answer.storage) { room in
            var length = socklen_t(room.count)
            return question(descriptor, room.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
        return status == 0 ? answer.transportAddress : nil
    }
}

extension cl_local {
    /// Where a message of the family came to; nil where that was not told.
    func address(of family: IPAddress.Family) -> IPAddress? {
        guard length > 0 else { return nil }
        return withUnsafeBytes(of: address) { bytes in
            switch family {
            case .v4: return IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
            case .v6:
                // Any other address is the whole host's: an answer may leave through another interface.
                let ip = IPAddress(v6: UInt128(bigEndian: bytes.loadUnaligned(as: UInt128.self)))
                return ip.isLinkLocal ? IPAddress(v6: ip.value, scope: interface) : ip
            }
        }
    }

    /// Has a message leave from the address.
    mutating func set(_ ip: IPAddress) {
        interface = ip.scope
        withUnsafeMutableBytes(of: &address) { bytes in
            switch ip.family {
            case .v4: bytes.storeBytes(of: UInt32(truncatingIfNeeded: ip.value).bigEndian, as: UInt32.self)
            case .v6: bytes.storeBytes(of: ip.value.bigEndian, as: UInt128.self)
            }
        }
        length = ip.family == .v4 ? 4 : 16
    }
}
