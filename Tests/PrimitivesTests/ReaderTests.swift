// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@Suite struct ByteReaderTests {
    @Test func readsWhatTheWriterWrote() throws {
        var writer = ByteWriter()
        writer.write(UInt8(0x01))
        writer.write(UInt16(0x0203))
        writer.write(UInt32(0x0405_0607))
        writer.write(UInt64(0x0809_0A0B_0C0D_0E0F))
        writer.write(UInt128(0x1011_1213_1415_1617_1819_1A1B_1C1D_1E1F))
        writer.write([0x20, 0x21])
        #expect(writer.bytes == Array(UInt8(1)...0x21))
        #expect(writer.count == 33)
        var reader = ByteReader(writer.bytes.rawSpan)
        #expect(try reader.readUInt8() == 1)
        #expect(try reader.readUInt16() == 0x0203)
        #expect(try reader.readUInt32() == 0x0405_0607)
        #expect(try reader.readUInt64() == 0x0809_0A0B_0C0D_0E0F)
        #expect(try reader.readUInt128() == 0x1011_1213_1415_1617_1819_1A1B_1C1D_1E1F)
        #expect(reader.position == 31)
        #expect(reader.remaining == 2)
        #expect(try reader.readBytes(2) == [0x20, 0x21])
        #expect(reader.isAtEnd == true)
    }

    enum Field: CaseIterable { case u8, u16, u32, u64, u128, bytes, span }

    /// Every read of something that is cut anywhere throws, and takes no more than there is.
    @Test(arguments: Field.allCases) func everyTruncationIsTold(field: Field) {
        let width = [Field.u8: 1, .u16: 2, .u32: 4, .u64: 8, .u128: 16, .bytes: 5, .span: 5][field] ?? 0
        let whole = [UInt8](repeating: 7, count: 16)
        for count in 0..<width {
            let cut = Array(whole.prefix(count))
            var reader = ByteReader(cut.rawSpan)
            #expect(throwsTruncated(&reader, field) == true, "\(field) of \(count) bytes")
            #expect(reader.position <= count)
        }
        var reader = ByteReader(whole.rawSpan)
        #expect(throwsTruncated(&reader, field) == false)
        #expect(reader.position == width)
    }

    private func throwsTruncated(_ reader: inout ByteReader, _ field: Field) -> Bool {
        do throws(Truncated) {
            switch field {
            case .u8: _ = try reader.readUInt8()
            case .u16: _ = try reader.readUInt16()
            case .u32: _ = try reader.readUInt32()
            case .u64: _ = try reader.readUInt64()
            case .u128: _ = try reader.readUInt128()
            case .bytes: _ = try reader.readBytes(5)
            case .span: _ = try reader.readSpan(5).byteCount
            }
            return false
        } catch { return true }
    }

    @Test(arguments: [-1, Int.min, 4, Int.max]) func absurdCountsAreTold(count: Int) {
        let bytes: [UInt8] = [1, 2, 3]
        var reader = ByteReader(bytes.rawSpan)
        do {
            _ = try reader.readBytes(count)
            Issue.record("\(count) bytes were read of 3")
        } catch { #expect(reader.remaining == 3) }
    }

    @Test func longStringsAreCut() throws {
        var writer = ByteWriter()
        writer.writeString16([UInt8](repeating: 1, count: 70_000))
        #expect(writer.count == 2 + 65_535)
        #expect(writer.bytes.prefix(2) == [0xFF, 0xFF])
    }
}

/// Queues against the plainest thing that does the same.
@Suite struct RingTests {
    @Test(arguments: (UInt64(1)...20).map { $0 } + [UInt64.random(in: 100 ... .max)])
    func byteRingIsAQueue(seed: UInt64) {
        var random = SeededRandom(seed)
        var ring = ByteRing()
        var model: [UInt8] = []
        for step in 0..<400 {
            if Bool.random(using: &random) {
                let bytes = random.bytes(Int.random(in: 0...700, using: &random))
                ring.append(bytes.rawSpan)
                model += bytes
            } else {
                // Now and then all of it, which frees the memory.
                let count = step % 17 == 0 ? model.count : Int.random(in: 0...model.count, using: &random)
                ring.removeFirst(count)
                model.removeFirst(count)
            }
            let offset = Int.random(in: 0...model.count, using: &random)
            let count = Int.random(in: 0...(model.count - offset), using: &random)
            var read: [UInt8] = []
            var pieces = 0
            ring.withBytes(at: offset, count: count) { piece in
                read.append(copying: piece)
                pieces += 1
            }
            guard ring.count == model.count, read == Array(model[offset..<offset + count]), pieces <= 2 else {
                Issue.record("seed \(seed), step \(step): \(count) bytes at \(offset) of \(model.count)")
                return
            }
        }
        #expect(ring.isEmpty == model.isEmpty)
    }

    private final class Counted {
        static func == (a: Counted, b: Counted) -> Bool { a === b }
    }

    @Test(arguments: (UInt64(1)...20).map { $0 } + [UInt64.random(in: 100 ... .max)])
    func ringIsAQueue(seed: UInt64) {
        var random = SeededRandom(seed)
        var ring = Ring<Int>()
        var model: [Int] = []
        for step in 0..<1_000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                ring.append(step)
                model.append(step)
            case 5..<9:
                let expected = model.isEmpty ? nil : model.removeFirst()
                #expect(ring.popFirst() == expected, "seed \(seed), step \(step)")
            default:
                guard !model.isEmpty else { continue }
                let place = Int.random(in: 0..<model.count, using: &random)
                ring.withMutableElement(place) { $0 += 1 }
                model[place] += 1
            }
            let same = model.indices.allSatisfy { place in ring.withElement(place) { $0 == model[place] } }
            #expect(same && ring.count == model.count, "seed \(seed), step \(step)")
        }
    }

    /// Nothing that was put in stays alive: neither what was taken out, nor what was still there at the end.
    @Test func elementsAreLetGo() {
        weak var popped: Counted?
        weak var removed: Counted?
        weak var kept: Counted?
        do {
            var ring = Ring<Counted>()
            for _ in 0..<3 { ring.append(Counted()) }
            ring.withElement(0) { popped = $0 }
            ring.withElement(1) { removed = $0 }
            #expect(ring.popFirst() != nil)
            #expect(popped == nil)
            ring.removeAll()
            #expect(removed == nil)
            #expect(ring.isEmpty == true)
            ring.append(Counted())
            ring.withElement(0) { kept = $0 }
        }
        #expect(kept == nil)
    }
}
