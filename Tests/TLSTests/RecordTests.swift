// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import TLS

/// Records that no honest peer sends.
@Suite struct RecordTests {
    private static func error(_ receiver: Endpoint, _ bytes: [UInt8]) -> TLSError? {
        do throws(TLSError) {
            try receiver.receive(bytes)
            return nil
        } catch {
            return error
        }
    }

    /// One bit of each byte, in a connection of its own.
    @Test func everyTamperedByte() throws {
        let length = try Pair().client.seal(pattern(40)).count
        for position in 0..<length {
            let pair = try Pair()
            var record = pair.client.seal(pattern(40))
            record[position] ^= UInt8(1 << (position % 8))
            let error = Self.error(pair.server, record)
            #expect(pair.server.plaintext.isEmpty)
            // A length that has grown only waits for the rest.
            if position == 3 || position == 4, error == nil { continue }
            #expect(error?.blame == .peer, "byte \(position)")
            #expect(pair.server.engine.state == .closed)
        }
    }

    @Test func replayedSwappedAndDroppedRecords() throws {
        for order in [[0, 0], [1], [0, 2]] {
            let pair = try Pair()
            let records = (0..<3).map { pair.client.seal([UInt8($0)]) }
            let error = Self.error(pair.server, order.flatMap { records[$0] })
            #expect(error?.alertToSend == .badRecordMAC, "\(order)")
        }
    }

    @Test func everyTruncation() throws {
        let pair = try Pair()
        let record = pair.client.seal(pattern(300))
        for count in 0..<record.count {
            let receiver = try Pair()
            #expect(Self.error(receiver.server, Array(record.prefix(count))) == nil, "\(count) bytes")
            #expect(receiver.server.plaintext.isEmpty && !receiver.server.engine.hasReceivedCloseNotify)
        }
    }

    @Test func needMoreConsumesNothing() throws {
        let pair = try Pair()
        let pool = BufferPool(capacity: 65_536, keepsAtMost: 1)
        let record = pair.client.seal([1, 2, 3])
        var slice = pool.lease(copying: record.rawSpan.extracting(0..<record.count - 1))
        guard case .needMore = try pair.server.engine.open(&slice) else {
            Issue.record("expected needMore")
            return
        }
        let left = slice.count
        #expect(left == record.count - 1)
    }

    /// The plaintext is a view of the ciphertext's buffer.
    @Test func decryptsInPlace() throws {
        let pair = try Pair()
        let pool = BufferPool(capacity: 65_536, keepsAtMost: 1)
        let records = pair.client.seal([1, 2, 3]) + pair.client.seal([4, 5])
        var slice = pool.lease(copying: records.rawSpan)
        guard case .plaintext(let first) = try pair.server.engine.open(&slice),
            case .plaintext(let second) = try pair.server.engine.open(&slice)
        else {
            Issue.record("expected two records of data")
            return
        }
        let left = slice.count
        #expect(pool.leased == 1 && left == 0)
        let contents = [first.withUnsafeBytes { Array($0) }, second.withUnsafeBytes { Array($0) }]
        #expect(contents == [[1, 2, 3], [4, 5]])
    }

    @Test(arguments: [(16_640, false), (16_641, true), (65_535, true)])
    func lengthOnTheWire(length: Int, isTooLong: Bool) throws {
        let header: [UInt8] = [23, 3, 3, UInt8(length >> 8), UInt8(truncatingIfNeeded: length)]
        let error = Self.error(try Pair().server, header)
        #expect(error?.alertToSend == (isTooLong ? .recordOverflow : nil))
    }

    @Test(arguments: 0..<17)
    func tooShort(length: UInt8) throws {
        let record = [23, 3, 3, 0, length] + [UInt8](repeating: 7, count: Int(length))
        #expect(Self.error(try Pair().server, record)?.alertToSend == .badRecordMAC)
    }

    @Test(arguments: [0, 20, 21, 22, 24, 255] as [UInt8])
    func recordsInTheClear(type: UInt8) throws {
        let error = Self.error(try Pair().server, [type, 3, 3, 0, 2, 1, 0])
        #expect(error?.alertToSend == .unexpectedMessage)
    }

    struct Forgery: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let content: [UInt8]
        let type: UInt8
        var padding = 0
        let alert: TLSAlert
    }

    static let forgeries = [
        Forgery(testDescription: "no type", content: [0, 0], type: 0, alert: .unexpectedMessage),
        Forgery(testDescription: "only padding", content: [], type: 0, padding: 16_384, alert: .unexpectedMessage),
        Forgery(testDescription: "too much content", content: pattern(16_385), type: 23, alert: .recordOverflow),
        Forgery(testDescription: "too much padding", content: [1], type: 23, padding: 16_384, alert: .recordOverflow),
        Forgery(testDescription: "change cipher spec", content: [1], type: 20, alert: .unexpectedMessage),
        Forgery(testDescription: "unknown type", content: [1], type: 24, alert: .unexpectedMessage),
        Forgery(testDescription: "empty alert", content: [], type: 21, alert: .decodeError),
        Forgery(testDescription: "long alert", content: [1, 0, 0], type: 21, alert: .decodeError),
        Forgery(testDescription: "empty handshake", content: [], type: 22, alert: .unexpectedMessage),
        Forgery(testDescription: "client hello", content: [1, 0, 0, 0], type: 22, alert: .unexpectedMessage),
        Forgery(testDescription: "certificate request", content: [13, 0, 0, 0], type: 22, alert: .unexpectedMessage),
        Forgery(testDescription: "ticket by a client", content: [4, 0, 0, 0], type: 22, alert: .unexpectedMessage),
        Forgery(testDescription: "empty key update", content: [24, 0, 0, 0], type: 22, alert: .decodeError),
        Forgery(testDescription: "long key update", content: [24, 0, 0, 2, 0, 0], type: 22, alert: .decodeError),
        Forgery(testDescription: "odd key update", content: [24, 0, 0, 1, 2], type: 22, alert: .illegalParameter),
        Forgery(testDescription: "behind it", content: [24, 0, 0, 1, 0, 24], type: 22, alert: .unexpectedMessage),
    ]

    @Test(arguments: forgeries)
    func forged(_ forgery: Forgery) throws {
        let pair = try Pair()
        let record = try pair.client.forge(forgery.content, type: forgery.type, padding: forgery.padding)
        let error = Self.error(pair.server, record)
        #expect(error?.blame == .peer && error?.alertToSend == forgery.alert, "\(String(describing: error))")
        // The peer is told, and the same error comes again.
        #expect(Self.error(pair.server, [23]) == error)
        #expect(Self.error(pair.client, pair.server.close())?.blame == .alert(forgery.alert))
    }

    @Test func allowedButOdd() throws {
        let pair = try Pair()
        try pair.server.receive(pair.client.forge([1, 2], type: 23, padding: 16_381))
        try pair.server.receive(pair.client.forge([], type: 23, padding: 100))
        try pair.server.receive(pair.client.forge([1, 90], type: 21))
        try pair.server.receive(pair.client.forge([3, 0, 0], type: 23))
        #expect(pair.server.takePlaintext() == [1, 2, 3, 0, 0])
        // A key update in three pieces, and nothing else between them.
        for piece in [[24], [0, 0], [1, 0]] as [[UInt8]] { try pair.server.receive(pair.client.forge(piece, type: 22)) }
        try pair.client.engine.records.sending.advanceKeys()
        try pair.server.receive(pair.client.seal([7]))
        #expect(pair.server.takePlaintext() == [7])
    }

    @Test func dataWithinAMessage() throws {
        let pair = try Pair()
        try pair.server.receive(pair.client.forge([24, 0], type: 22))
        #expect(Self.error(pair.server, pair.client.seal([1]))?.alertToSend == .unexpectedMessage)
    }

    @Test func ticketsInPieces() throws {
        let pair = try Pair()
        // Two tickets over three records: one of 20,000 bytes, and an empty one.
        let tickets = [4, 0, 0x4E, 0x20] + [UInt8](repeating: 4, count: 20_000) + [4, 0, 0, 0]
        for start in stride(from: 0, to: tickets.count, by: 7000) {
            let piece = tickets[start..<min(start + 7000, tickets.count)]
            try pair.client.receive(pair.server.forge(Array(piece), type: 22))
        }
        try pair.client.receive(pair.server.seal([5]))
        #expect(pair.client.takePlaintext() == [5])
    }

    /// Records without data, as many as there may be and one more.
    @Test(arguments: [23, 22] as [UInt8])
    func floods(type: UInt8) throws {
        let pair = try Pair()
        for _ in 0..<32 { try Self.sendQuiet(pair, type) }
        #expect(throws: TLSError.self) { try Self.sendQuiet(pair, type) }
        #expect(pair.server.engine.failure?.alertToSend == .unexpectedMessage)
    }

    /// A peer that sends data may change its key now and then, for ever.
    @Test func patienceRecovers() throws {
        let pair = try Pair()
        for _ in 0..<100 {
            try Self.sendQuiet(pair, 22)
            for _ in 0..<8 { try pair.server.receive(pair.client.seal([1])) }
        }
        #expect(pair.server.plaintext.count == 800)
    }

    private static func sendQuiet(_ pair: Pair, _ type: UInt8) throws {
        guard type == 22 else { return try pair.server.receive(pair.client.forge([], type: type)) }
        let update = try pair.client.forge([24, 0, 0, 1, 0], type: 22)
        try pair.client.engine.records.sending.advanceKeys()
        try pair.server.receive(update)
    }

    @Test func sequenceNumbersEnd() throws {
        let pair = try Pair()
        pair.client.engine.records.recordsPerKey = .max
        pair.client.engine.records.sending.sequence = .max - 1
        pair.server.engine.records.receiving.sequence = .max - 1
        try pair.server.receive(pair.client.seal([1]))
        #expect(pair.server.takePlaintext() == [1])
        // The sender changes its key before the last number; a peer that does not is refused.
        let last = try pair.client.forge([1], type: 23)
        #expect(Self.error(pair.server, last)?.blame == .peer)
    }

    @Test func keyChangesBeforeTheLimit() throws {
        let pair = try Pair()
        let records = pair.client.engine.records
        #expect(records.recordsPerKey == 1 << 24)
        records.sending.sequence = 1 << 24
        pair.server.engine.records.receiving.sequence = 1 << 24
        try pair.server.receive(pair.client.seal([1, 2]))
        #expect(pair.server.takePlaintext() == [1, 2] && records.sending.sequence == 1)
    }

    @Test func whatComesAfterTheCloseIsIgnored() throws {
        let pair = try Pair()
        let last = pair.client.seal([1]) + pair.client.close()
        try pair.server.receive(last + [1, 2, 3])
        #expect(pair.server.plaintext == [1] && pair.server.isClosedByPeer)
        try pair.server.receive([UInt8](repeating: 0xFF, count: 100))
        #expect(pair.server.engine.failure == nil)
    }

    @Test func smallOutput() throws {
        let pair = try Pair()
        for capacity in 1...80 {
            let pool = BufferPool(capacity: capacity, keepsAtMost: 1)
            var output = OutputBuffer(from: pool)
            let hasBegun = pair.client.engine.beginRecord(in: &output)
            #expect(hasBegun == (capacity > TLSEngine.overhead))
            #expect(pair.client.engine.recordRoom == max(0, capacity - TLSEngine.overhead))
            guard hasBegun else { continue }
            let bytes = pattern(pair.client.engine.recordRoom)
            pair.client.engine.seal(bytes.rawSpan, into: &output)
            let early = output.count
            #expect(pair.client.engine.recordRoom == 0 && early == 0)
            pair.client.engine.endRecord(in: &output)
            let sealed = output.withUnsafeBytes { Array($0) }
            #expect(sealed.count == capacity)
            try pair.server.receive(sealed)
            #expect(pair.server.takePlaintext() == bytes)
        }
    }

    @Test func emptyRecordIsNone() throws {
        let pair = try Pair()
        let pool = BufferPool(capacity: 1024, keepsAtMost: 1)
        var output = OutputBuffer(from: pool)
        let hasBegun = pair.client.engine.beginRecord(in: &output)
        #expect(hasBegun)
        pair.client.engine.seal([UInt8]().rawSpan, into: &output)
        pair.client.engine.endRecord(in: &output)
        let waiting = output.count
        #expect(waiting == 0)
        try pair.server.receive(pair.client.seal([1]))
        #expect(pair.server.takePlaintext() == [1])
    }

    @Test(arguments: [UInt64(11), 12, 13])
    func garbage(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for round in 0..<60 {
            let pair = try Pair()
            var bytes = pair.client.seal(pattern(Int.random(in: 1...400, using: &random)), part: 37)
            let changes = Int.random(in: 1...4, using: &random)
            for _ in 0..<changes {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= .random(in: 1...255, using: &random)
            }
            _ = Self.error(pair.server, bytes)
            #expect(pair.server.plaintext.isEmpty, "seed \(seed), round \(round)")
            #expect(pair.server.leased == 0)
        }
    }

    /// Bytes that look like a record's header, and anything behind them.
    @Test(arguments: [UInt64(21), 22])
    func randomRecords(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for round in 0..<100 {
            let pair = try Pair()
            let length = Int.random(in: 0...600, using: &random)
            var bytes: [UInt8] = [23, 3, 3, UInt8(length >> 8), UInt8(truncatingIfNeeded: length)]
            for _ in 0..<length { bytes.append(.random(in: 0...255, using: &random)) }
            #expect(Self.error(pair.server, bytes)?.alertToSend == .badRecordMAC, "seed \(seed), round \(round)")
        }
    }
}
