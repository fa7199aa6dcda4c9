// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@Suite struct BufferPoolTests {
    @Test func leaseIsAWholeBuffer() {
        let pool = BufferPool(capacity: 100, keepsAtMost: 1)
        let slice = pool.lease()
        #expect(slice.count == 100)
        #expect(slice.isUnique == true)
        #expect(slice.isEmpty == false)
        #expect(pool.leased == 1)
    }

    /// The last slice of a buffer gives it back, whichever that is.
    @Test(arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    func lastSliceGivesBack(order: [Int]) {
        let pool = BufferPool(capacity: 16, keepsAtMost: 4)
        var slices = Ring<Slice>()
        let first = pool.lease(copying: ([1, 2, 3] as [UInt8]).span.bytes)
        slices.append(first.share())
        slices.append(first.share(1..<3))
        slices.append(first)
        var held: [Int: Bool] = [:]
        for place in order {
            #expect(pool.leased == 1, "still \(3 - held.count) of them")
            held[place] = true
            slices.drop(place)
        }
        #expect(pool.leased == 0)
    }

    @Test func buffersAreUsedAgain() {
        let pool = BufferPool(capacity: 8, keepsAtMost: 1)
        do {
            var slice = pool.lease()
            slice.overwrite(at: 0, with: ([7, 7, 7] as [UInt8]).span.bytes)
        }
        let again = pool.lease()
        #expect(again.array.prefix(3) == [7, 7, 7], "the same memory, its content unspecified")
    }

    @Test func keepsNoMoreThanItWasTold() {
        let pool = BufferPool(capacity: 8, keepsAtMost: 2)
        var slices = Ring<Slice>()
        for _ in 0..<5 { slices.append(pool.lease()) }
        #expect(pool.leased == 5)
        slices.removeAll()
        #expect(pool.leased == 0)
        pool.keepsAtMost = 0
        #expect(pool.lease().count == 8)
    }

    /// A slice may outlive whoever held the pool.
    @Test func sliceKeepsItsPool() {
        weak var pool: BufferPool?
        do {
            let slice: Slice
            do {
                let made = BufferPool(capacity: 8, keepsAtMost: 1)
                pool = made
                slice = made.lease(copying: ([1, 2] as [UInt8]).span.bytes)
            }
            #expect(pool != nil)
            #expect(slice.array == [1, 2])
        }
        #expect(pool == nil)
    }
}

@Suite struct SliceTests {
    private let pool = BufferPool(capacity: 32, keepsAtMost: 1)

    private func slice(_ bytes: [UInt8]) -> Slice { pool.lease(copying: bytes.span.bytes) }

    @Test func partsAreViewsOfTheWhole() {
        var slice = slice([0, 1, 2, 3, 4, 5])
        #expect(slice.share(2..<4).array == [2, 3])
        #expect(slice.share(6..<6).isEmpty == true)
        let head = slice.splitFirst(2)
        #expect(head.array == [0, 1])
        #expect(slice.array == [2, 3, 4, 5])
        slice.removeFirst(1)
        slice.truncate(to: 2)
        #expect(slice.array == [3, 4])
        slice.removeFirst(2)
        #expect(slice.isEmpty == true)
        #expect(head.array == [0, 1])
    }

    @Test func sharingIsKnown() {
        let slice = slice([1])
        do {
            let other = slice.share()
            #expect(slice.isUnique == false)
            #expect(other.isUnique == false)
        }
        #expect(slice.isUnique == true)
    }

    @Test func overwritesWhereItSays() {
        var slice = slice([0, 0, 0, 0])
        slice.overwrite(at: 1, with: ([8, 9] as [UInt8]).span.bytes)
        slice.overwrite(at: 4, with: [UInt8]().span.bytes)
        #expect(slice.array == [0, 8, 9, 0])
    }
}

@Suite struct OutputBufferTests {
    @Test func fillsAtTheEndAndEmptiesAtTheFront() {
        let pool = BufferPool(capacity: 8, keepsAtMost: 1)
        do {
            var output = OutputBuffer(from: pool)
            #expect(output.isEmpty == true)
            #expect(output.room == 8)
            output.append(([1, 2, 3] as [UInt8]).span.bytes)
            output.removeFirst(1)
            output.append(([4, 5, 6, 7, 8] as [UInt8]).span.bytes)
            #expect(output.room == 0)
            #expect(output.count == 7)
            #expect(output.bytes.withUnsafeBytes { Array($0) } == [2, 3, 4, 5, 6, 7, 8])
            #expect(output.withUnsafeBytes { $0.count } == 7)
            output.removeFirst(7)
            #expect(output.isEmpty == true)
            #expect(output.room == 8, "an empty one begins anew")
            #expect(pool.leased == 1)
        }
        #expect(pool.leased == 0)
    }

    @Test func writerSaysHowMuchItWrote() {
        let pool = BufferPool(capacity: 8, keepsAtMost: 1)
        var output = OutputBuffer(from: pool)
        let written = output.withUnsafeRoom { room in
            room[0] = 9
            return 1
        }
        #expect(written == 1)
        #expect(output.bytes.withUnsafeBytes { Array($0) } == [9])
        output.withUnsafeRoom { _ in 0 }
        #expect(output.count == 1)
    }
}

extension Slice {
    var array: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension Ring where Element == Slice {
    /// Replaces the slice at a place by one of another pool.
    fileprivate mutating func drop(_ place: Int) {
        withMutableElement(place) { $0 = BufferPool(capacity: 1, keepsAtMost: 0).lease() }
    }
}
