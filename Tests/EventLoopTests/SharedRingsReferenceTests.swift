// SPDX-License-Identifier: Apache-2.0

import CLinux
@testable import EventLoop
import Glibc
import Primitives
import Testing

/// What a provider hands back by its place in the ring: it is read as it was sent, whatever the two do meanwhile.
@Suite struct SharedRingsReferenceTests {
    static let ringSize = 128 << 10
    static let (here, there) = (IPAddress(v4: 0x0A00_0001), IPAddress(v4: 0x0A00_0002))

    /// The other side, with the rings' memory mapped a second time.
    final class Reader {
        var incoming: cl_ring
        var outgoing: cl_ring
        private let mapping: UnsafeMutableRawPointer
        private let size = Int(CL_RINGS_DATA) + 2 * ringSize
        /// What it has taken and neither answered nor given back, the oldest first: where it lies, and where its room ends.
        private var held: [(bytes: UnsafePointer<UInt8>, length: UInt32, end: UInt64)] = []

        init(_ rings: SharedRings) throws {
            let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, rings.descriptor, 0)
            mapping = try #require(memory != MAP_FAILED ? memory : nil)
            incoming = cl_ring_view(mapping, UInt64(ringSize), 0)
            outgoing = cl_ring_view(mapping, UInt64(ringSize), 1)
        }

        deinit { munmap(mapping, size) }

        func take() -> Bool {
            var record = cl_record()
            var bytes: UnsafePointer<UInt8>?
            guard cl_ring_next(&incoming, &record, &bytes) == 1, let bytes else { return false }
            held.append((bytes, record.length, incoming.position))
            return true
        }

        /// Answers the oldest and gives its room back, even while nobody has read the answer. False where there is none,
        /// or no room for an answer.
        func answer(byPlace: Bool) -> Bool {
            guard let packet = held.first else { return false }
            let place = UInt32(packet.bytes - UnsafePointer(incoming.data))
            guard put(packet.bytes, packet.length, at: byPlace ? place : nil) == 1 else { return false }
            cl_ring_give_back(&incoming, packet.end)
            held.removeFirst()
            return true
        }

        func put(_ bytes: UnsafePointer<UInt8>, _ length: UInt32, at place: UInt32?, givenBack: UInt32? = nil) -> Int32
        {
            var record = cl_record()
            record.length = length
            record.kind = UInt8(CL_RECORD_PACKET)
            if let place {
                record.kind = UInt8(CL_RECORD_REFERENCE)
                record.place = place
                record.given_back = givenBack ?? UInt32(truncatingIfNeeded: cl_ring_tail(&incoming))
            }
            (record.local_size, record.remote_size) = (4, 4)
            return cl_ring_put(&outgoing, &record, bytes)
        }
    }

    /// Packets of all sizes, taken, answered and read in any order of steps: all come back, in order and whole.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64]) func nothingIsWrittenOver(seed: UInt64) throws {
        let rings = try SharedRings(ringSize: Self.ringSize)
        let reader = try Reader(rings)
        let pool = BufferPool(capacity: SharedRings.largestPacket, keepsAtMost: 4)
        var random = SplitMix(state: seed)
        let (byPlace, largest) = (Int(seed % 3), seed.isMultiple(of: 2) ? 3_000 : SharedRings.largestPacket)
        var (sent, received, refused) = (0, 0, 0)
        // What is sent is told by its number.
        func packet(_ number: Int) -> [UInt8] {
            var bytes = SplitMix(state: UInt64(number))
            let count = 1 + Int(bytes.next() % UInt64(largest))
            return [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: count)
        }
        func read() throws -> Bool {
            switch rings.read(into: pool) {
            case .packet(let bytes, _, _):
                let expected = packet(received)
                let isWhole = bytes.withUnsafeBytes {
                    $0.count == expected.count && memcmp($0.baseAddress!, expected, $0.count) == 0
                }
                try #require(isWhole, "packet \(received) of seed \(seed)")
                received += 1
                return true
            case .nothing: return false
            case .rubbish:
                Issue.record("rubbish before packet \(received) of seed \(seed)")
                return false
            }
        }
        for _ in 0..<40_000 {
            switch random.next() % 8 {
            case 0, 1, 2:
                switch rings.write(packet(sent).rawSpan, luid: 1, from: Self.here, to: Self.there) {
                case .done: sent += 1
                case .full: refused += 1
                case .rubbish: Issue.record("the reader's place makes no sense, seed \(seed)")
                }
            case 3, 4: _ = reader.take()
            case 5, 6: _ = reader.answer(byPlace: byPlace != 0 && random.next() % 3 < 2 * byPlace)
            default: while try read() && random.next() % 4 != 0 {}
            }
        }
        while true {
            while reader.take() || reader.answer(byPlace: byPlace != 0) {}
            guard try read() else { break }
        }
        // Steps were refused for want of room, and the rings came round many times.
        #expect(received == sent && refused > 0, "\(sent) sent, \(received) received, \(refused) refused")
        #expect(rings.written > 20 * UInt64(Self.ringSize))
        // All the room is there again.
        let whole = [UInt8](repeating: 1, count: SharedRings.largestPacket)
        #expect(rings.write(whole.rawSpan, luid: 1, from: Self.here, to: Self.there) == .done)
    }

    /// Room is not lent again while what refers to it is unread, and is as soon as that is read.
    @Test func roomWaitsForWhatRefersToIt() throws {
        let rings = try SharedRings(ringSize: Self.ringSize)
        let reader = try Reader(rings)
        let pool = BufferPool(capacity: SharedRings.largestPacket, keepsAtMost: 4)
        let half = [UInt8](repeating: 7, count: 60_000)
        func write() -> SharedRings.Writing { rings.write(half.rawSpan, luid: 1, from: Self.here, to: Self.there) }
        #expect(write() == .done && write() == .done && write() == .full)
        #expect(reader.take() && reader.answer(byPlace: true))
        #expect(write() == .full)
        guard case .packet = rings.read(into: pool) else {
            Issue.record("nothing to read")
            return
        }
        #expect(write() == .done)
        // A copy refers to nothing.
        #expect(reader.take() && reader.answer(byPlace: false))
        #expect(write() == .done)
    }

    /// Room comes free bit by bit while references are read, also where all of them were written at once.
    @Test func roomComesFreeBitByBit() throws {
        let rings = try SharedRings(ringSize: Self.ringSize)
        let reader = try Reader(rings)
        let pool = BufferPool(capacity: SharedRings.largestPacket, keepsAtMost: 4)
        let packet = [UInt8](repeating: 7, count: 10_000)
        func write() -> SharedRings.Writing { rings.write(packet.rawSpan, luid: 1, from: Self.here, to: Self.there) }
        for _ in 0..<13 { #expect(write() == .done) }
        #expect(write() == .full)
        while reader.take() {}
        while reader.answer(byPlace: true) {}
        for _ in 0..<8 {
            guard case .packet = rings.read(into: pool) else {
                Issue.record("nothing to read")
                return
            }
        }
        // The last one that was read says what was free before it; a packet's room may be lost at the ring's end.
        var written = 0
        while write() == .done { written += 1 }
        #expect((6...7).contains(written))
    }

    /// A reference that says of room that it was given back which there never was.
    @Test(arguments: [1, 1 << 20, 1 << 31, .max] as [UInt32]) func roomThatNeverWasIsRubbish(givenBack: UInt32) throws {
        let rings = try SharedRings(ringSize: Self.ringSize)
        let reader = try Reader(rings)
        let pool = BufferPool(capacity: SharedRings.largestPacket, keepsAtMost: 4)
        var byte: UInt8 = 0
        #expect(reader.put(&byte, 1, at: 0, givenBack: givenBack) == 1)
        let isRubbish = if case .rubbish = rings.read(into: pool) { true } else { false }
        // What lies within a ring before this side's place is believed: there it harms nobody but who says it.
        #expect(isRubbish == (UInt32(0) &- givenBack > UInt32(Self.ringSize)))
    }

    /// A reference to what is not in the ring.
    @Test(
        arguments: [
            (131_072, 1), (131_071, 2), (0, 65_537), (0, 0), (UInt32.max, 1), (UInt32.max - 99, 200), (1 << 31, 100),
        ] as [(UInt32, UInt32)])
    func aPlaceOutsideIsRubbish(place: UInt32, length: UInt32) throws {
        let rings = try SharedRings(ringSize: Self.ringSize)
        let reader = try Reader(rings)
        let pool = BufferPool(capacity: SharedRings.largestPacket, keepsAtMost: 4)
        var byte: UInt8 = 0
        #expect(reader.put(&byte, length, at: place) == 1)
        guard case .rubbish = rings.read(into: pool) else {
            Issue.record("it was taken")
            return
        }
    }
}
