// SPDX-License-Identifier: Apache-2.0

import COpenSSL
import Testing

@testable import TLS

/// Our records against OpenSSL's own record layer.
@Suite struct InteroperationTests {
    static let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    static let roles = [TLSContext.Role.client, .server]

    private static func pair(_ role: TLSContext.Role, suite: String) throws -> MixedPair {
        var options = OpenSSLPeer.Options()
        options.suites = suite
        let pair = try MixedPair(role, options)
        #expect(pair.endpoint.engine.cipherSuite == suite)
        return pair
    }

    @Test(arguments: suites, roles)
    func bothWays(suite: String, role: TLSContext.Role) throws {
        let pair = try Self.pair(role, suite: suite)
        for count in [1, 15, 16, 17, 100, 511, 512, 16_383, 16_384, 16_385, 40_000, 300_000] {
            #expect(try pair.send(pattern(count)) == pattern(count), "\(count) bytes")
            #expect(try pair.receive(pattern(count)) == pattern(count), "\(count) bytes")
        }
        #expect(pair.endpoint.leased == 0)
    }

    /// Parts that end anywhere in the cipher's blocks, copied and not.
    @Test(arguments: suites, [1, 7, 8, 100, 511, 512, 1000, 5000, 16_376])
    func gathered(suite: String, part: Int) throws {
        let pair = try Self.pair(.server, suite: suite)
        let count = part == 1 ? 20_000 : 100_000
        #expect(try pair.send(pattern(count), part: part) == pattern(count))
    }

    @Test(arguments: suites, roles)
    func keyUpdateByOpenSSL(suite: String, role: TLSContext.Role) throws {
        let pair = try Self.pair(role, suite: suite)
        for round in 0..<10 {
            let asks = round.isMultiple(of: 2)
            try pair.peer.updateKey(requesting: asks)
            #expect(try pair.receive(pattern(30_000)) == pattern(30_000), "round \(round)")
            #expect(pair.endpoint.engine.records.owesKeyUpdate == asks)
            #expect(try pair.send(pattern(1000)) == pattern(1000), "round \(round)")
            #expect(pair.endpoint.engine.records.owesKeyUpdate == false)
        }
    }

    @Test(arguments: suites, roles)
    func keyUpdateByUs(suite: String, role: TLSContext.Role) throws {
        let pair = try Self.pair(role, suite: suite)
        let records = pair.endpoint.engine.records
        records.recordsPerKey = 3
        for round in 0..<10 {
            #expect(try pair.send(pattern(100_000)) == pattern(100_000), "round \(round)")
            #expect(records.sending.sequence <= 3)
        }
    }

    @Test(arguments: roles)
    func closeByOpenSSL(role: TLSContext.Role) throws {
        let pair = try MixedPair(role)
        #expect(try pair.receive([1, 2]) == [1, 2])
        #expect(!pair.endpoint.engine.hasReceivedCloseNotify)
        pair.peer.close()
        try pair.endpoint.receive(pair.peer.takeOutput())
        #expect(pair.endpoint.isClosedByPeer && pair.endpoint.engine.hasReceivedCloseNotify)
        #expect(pair.endpoint.engine.state == .established)
        // Our direction lives on (RFC 8446, 6.1).
        #expect(try pair.send(pattern(10)) == pattern(10))
        _ = pair.endpoint.close()
        #expect(pair.endpoint.engine.state == .closed)
    }

    @Test(arguments: roles)
    func closeByUs(role: TLSContext.Role) throws {
        let pair = try MixedPair(role)
        #expect(try pair.send([9]) == [9] && !pair.peer.hasReceivedClose)
        let close = pair.endpoint.close()
        #expect(close.count == 24 && pair.endpoint.close().isEmpty)
        pair.peer.feed(close)
        #expect(try pair.peer.read().isEmpty && pair.peer.hasReceivedClose)
        #expect(pair.endpoint.seal([1]).isEmpty)
        #expect(try pair.receive(pattern(10)) == pattern(10))
    }

    @Test func ourAlertIsUnderstood() throws {
        let pair = try MixedPair(.client)
        try pair.peer.write(pattern(100))
        var record = pair.peer.takeOutput()
        record[50] ^= 1
        #expect(throws: TLSError.self) { try pair.endpoint.receive(record) }
        pair.peer.feed(pair.endpoint.close())
        let told = #expect(throws: OpenSSLPeer.Failure.self) { _ = try pair.peer.read() }
        #expect(told?.description.contains("bad record mac") == true)
    }

    @Test func ticketsAreIgnored() throws {
        var options = OpenSSLPeer.Options()
        options.tickets = 5
        let pair = try MixedPair(.client, options)
        #expect(try pair.receive(pattern(1000)) == pattern(1000))
    }

    @Test(arguments: [2, 100, 1024, 16_384])
    func paddedRecords(padding: Int) throws {
        var options = OpenSSLPeer.Options()
        options.padding = padding
        let pair = try MixedPair(.server, options)
        for count in [1, 99, 100, 5000, 16_384, 20_000] {
            #expect(try pair.receive(pattern(count)) == pattern(count), "\(count) bytes")
        }
    }

    /// Records in pieces of every size.
    @Test func splitRecords() throws {
        let pair = try MixedPair(.client)
        for piece in 1...60 {
            try pair.peer.write(pattern(200))
            let bytes = pair.peer.takeOutput()
            for start in stride(from: 0, to: bytes.count, by: piece) {
                try pair.endpoint.receive(Array(bytes[start..<min(start + piece, bytes.count)]))
            }
            #expect(pair.endpoint.takePlaintext() == pattern(200))
        }
    }
}
