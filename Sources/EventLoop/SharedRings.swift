// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
public import Primitives

/// Two rings of packets in memory that is shared with a process of this host, which is not trusted: one to it, and one from
/// it. The memory can't be cut short, every number in it is read once and checked, and packets are copied out. A packet
/// from it may lie where it was written to it: that room is not used anew before such packets are read.
public final class SharedRings {
    /// What came of writing a packet.
    public enum Writing: Sendable {
        case done
        /// There is no room now.
        case full
        /// The other side's place in the ring makes no sense.
        case rubbish
    }

    /// What came of reading one.
    public enum Reading: ~Copyable {
        case packet(Slice, local: IPAddress, remote: IPAddress)
        case nothing
        case rubbish
    }

    /// Bytes of each ring.
    public let ringSize: Int
    /// -1 once closed.
    private(set) var descriptor: Int32
    private let mapping: UnsafeMutableRawPointer
    private var out: cl_ring
    private var `in`: cl_ring
    private var looking = cl_patience_for(cl_processors())

    /// What the other side may do beyond the session protocol's first version, as it is told in its registration's answer.
    public static let features = CL_FEATURE_REFERENCES.rawValue

    /// The largest packet.
    public static let largestPacket = Int(CL_RECORD_LARGEST)

    /// - Parameter ringSize: a power of two, from 128 KiB to 256 MiB; anything else is ``UVError/invalidArgument``.
    public init(ringSize: Int) throws(UVError) {
        guard ringSize >= 128 << 10, ringSize <= 256 << 20, ringSize & (ringSize - 1) == 0 else {
            throw .invalidArgument
        }
        self.ringSize = ringSize
        var mapping: UnsafeMutableRawPointer?
        descriptor = try UVError.check(cl_rings_create(UInt64(ringSize), &mapping))
        guard let mapping else { throw .invalidArgument }
        self.mapping = mapping
        out = cl_ring_view(mapping, UInt64(ringSize), 0)
        `in` = cl_ring_view(mapping, UInt64(ringSize), 1)
        `in`.referred = UnsafePointer(out.data)
    }

    deinit {
        closeDescriptor()
        cl_rings_unmap(mapping, UInt64(ringSize))
    }

    /// Closes the descriptor, once the other side has been sent it.
    public func closeDescriptor() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    // MARK: To the other side

    /// Writes a packet. It must not be empty, nor longer than ``largestPacket``: such a one is dropped.
    public func write(_ packet: RawSpan, luid: UInt64, from local: IPAddress, to remote: IPAddress) -> Writing {
        guard packet.byteCount > 0, packet.byteCount <= SharedRings.largestPacket else { return .done }
        var record = cl_record()
        record.length = UInt32(truncatingIfNeeded: packet.byteCount)
        record.kind = UInt8(CL_RECORD_PACKET)
        record.luid = luid
        record.local_size = SharedRings.put(local, &record.local)
        record.remote_size = SharedRings.put(remote, &record.remote)
        let status = packet.withUnsafeBytes { cl_ring_put_referable(&out, &`in`, &record, $0.baseAddress) }
        return status > 0 ? .done : status == 0 ? .full : .rubbish
    }

    /// Whether the other side sleeps and has not been told yet: then send it something.
    public func readerTakesBell() -> Bool { cl_ring_takes_bell(&out) != 0 }

    /// Bytes that were written and that the other side, as it says, has not read.
    public var waiting: UInt64 { written &- taken }
    /// Bytes that were written since the beginning.
    public var written: UInt64 { out.position }
    /// Bytes that the other side has read since the beginning, as it says: not to be believed.
    public var taken: UInt64 { cl_ring_tail(&out) }

    // MARK: From the other side

    /// The next packet, copied into a buffer of the pool, which holds ``largestPacket`` bytes.
    public func read(into pool: BufferPool) -> Reading {
        var record = cl_record()
        var bytes: UnsafePointer<UInt8>?
        let status = cl_ring_next(&`in`, &record, &bytes)
        guard status != 0 else {
            // Everything is read that could refer to what it has given back.
            return cl_ring_see_unreferenced_room(&out, &`in`) > 0 ? .nothing : .rubbish
        }
        guard status > 0, let bytes, Int(record.length) <= pool.capacity,
            let local = SharedRings.address(record.local_size, &record.local),
            let remote = SharedRings.address(record.remote_size, &record.remote)
        else { return .rubbish }
        if Int32(record.kind) == CL_RECORD_REFERENCE, cl_ring_see_reference(&out, &record) < 0 { return .rubbish }
        let packet = pool.lease(copying: UnsafeRawBufferPointer(start: bytes, count: Int(record.length)).bytes)
        if cl_ring_give_back(&`in`, `in`.position) != 0 { cl_ring_wake_writer(&`in`) }
        return .packet(packet, local: local, remote: remote)
    }

    /// Asks for a message with the next packet. False where there is a packet already.
    public func sleep() -> Bool { cl_ring_sleep(&`in`) != 0 }

    /// No message is needed while this side reads.
    public func wake() { cl_ring_awake(&`in`) }

    // MARK: Looking before sleeping

    /// How long to look for packets before it is worth to ``sleep()``: zero where looking has not paid.
    public var patience: Duration { .nanoseconds(Int64(cl_patience_look(&looking))) }

    /// Looking for ``patience`` has brought nothing.
    public func lookedInVain() { cl_patience_in_vain(&looking) }

    /// A packet has come after so long a wait, with or without sleep.
    public func waited(_ time: Duration) { cl_patience_learn(&looking, UInt64(clamping: time.nanoseconds)) }

    // MARK: Addresses

    private typealias Field = (
        UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8
    )

    private static func put(_ address: IPAddress, _ field: inout Field) -> UInt8 {
        withUnsafeMutableBytes(of: &field) { room in
            if address.family == .v4 {
                room.storeBytes(of: UInt32(truncatingIfNeeded: address.value).bigEndian, as: UInt32.self)
                return 4
            }
            room.storeBytes(of: address.value.bigEndian, as: UInt128.self)
            return 16
        }
    }

    private static func address(_ size: UInt8, _ field: inout Field) -> IPAddress? {
        withUnsafeBytes(of: &field) { bytes in
            switch size {
            case 4: IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
            case 16: IPAddress(v6: UInt128(bigEndian: bytes.loadUnaligned(as: UInt128.self)))
            default: nil
            }
        }
    }
}
