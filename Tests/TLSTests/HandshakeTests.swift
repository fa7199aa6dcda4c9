// SPDX-License-Identifier: Apache-2.0

import COpenSSL
import Primitives
import Testing

@testable import TLS

/// What an engine's handshake ended with.
private func failure(_ body: () throws -> Void) -> TLSError? {
    do {
        try body()
        return nil
    } catch {
        return error as? TLSError
    }
}

@Suite struct HandshakeTests {
    @Test func bothSidesAgree() throws {
        let pair = try Pair()
        let (client, server) = (pair.client.engine, pair.server.engine)
        #expect(client.state == .established && server.state == .established)
        #expect(client.peerPublicKeyDER == Credentials.relay.publicKeyDER)
        #expect(server.peerPublicKeyDER == Credentials.agent.publicKeyDER)
        #expect(client.peerCertificateDER == Credentials.relay.certificateDER)
        #expect(server.peerCertificateDER == Credentials.agent.certificateDER)
        #expect(client.negotiatedALPN == "natfwt/1" && server.negotiatedALPN == "natfwt/1")
        #expect(client.cipherSuite == "TLS_AES_128_GCM_SHA256")
        #expect(client.exporter.count == 32 && client.exporter == server.exporter)
    }

    @Test func everyConnectionHasItsOwnExporter() throws {
        #expect(try Pair().client.engine.exporter != Pair().client.engine.exporter)
    }

    /// The client's and the server's bytes, cut in two at every position.
    @Test func splitAtEveryByte() throws {
        let (clientContext, serverContext) = (try TLSContext.make(.client), try TLSContext.make(.server))
        var cut = 0
        var longest = 1
        while cut < longest {
            let (client, server) = (try Endpoint(clientContext), try Endpoint(serverContext))
            for (from, to) in [(client, server), (server, client), (client, server)] {
                let bytes = from === client ? try client.handshakeOutput() : server.engine.takeHandshakeOutput()
                longest = max(longest, bytes.count)
                try to.receive(Array(bytes.prefix(cut)))
                try to.receive(Array(bytes.dropFirst(cut)))
            }
            try #require(server.engine.state == .established && client.engine.state == .established, "cut at \(cut)")
            try server.receive(client.seal([1, 2, 3]))
            try #require(server.takePlaintext() == [1, 2, 3], "cut at \(cut)")
            cut += 1
        }
        #expect(longest > 500)
    }

    @Test func oneByteAtATime() throws {
        let (client, server) = (try Endpoint(.client), try Endpoint(.server))
        for byte in try client.handshakeOutput() { try server.receive([byte]) }
        for byte in server.engine.takeHandshakeOutput() { try client.receive([byte]) }
        for byte in client.engine.takeHandshakeOutput() { try server.receive([byte]) }
        #expect(client.engine.state == .established && server.engine.state == .established)
    }

    /// The client's first records ride behind its Finished: they are not the handshake's.
    @Test func dataRightBehindTheHandshake() throws {
        let (client, server) = (try Endpoint(.client), try Endpoint(.server))
        try server.receive(try client.handshakeOutput())
        try client.receive(server.engine.takeHandshakeOutput())
        let finished = client.engine.takeHandshakeOutput()
        let bytes = finished + client.seal(pattern(40_000)) + client.close()
        let consumed = try server.engine.handshake(bytes.rawSpan)
        #expect(consumed == finished.count && server.engine.state == .established)
        try server.receive(Array(bytes.dropFirst(consumed)))
        #expect(server.plaintext == pattern(40_000) && server.isClosedByPeer)
    }

    @Test func noCommonProtocol() throws {
        let (client, server) = (try Endpoint(.client, alpn: ["other/1"]), try Endpoint(.server))
        let hello = try client.handshakeOutput()
        let serverError = failure { try server.receive(hello) }
        #expect(serverError?.blame == .peer)
        #expect(serverError?.message.contains("does not speak this application protocol") == true)
        #expect(serverError?.message.contains("no_application_protocol") == true)
        #expect(server.engine.state == .closed)
        let clientError = failure { try client.receive(server.engine.takeHandshakeOutput()) }
        #expect(clientError?.blame == .alert(.noApplicationProtocol))
        #expect(clientError?.message.contains("no_application_protocol") == true)
    }

    @Test func peerThatOffersNoProtocol() throws {
        var options = OpenSSLPeer.Options()
        options.alpn = nil
        let error = failure { _ = try MixedPair(.server, options) }
        #expect(error?.blame == .peer && error?.message.contains("application protocol") == true)
        let clientError = failure { _ = try MixedPair(.client, options) }
        #expect(clientError?.blame == .peer)
    }

    @Test func clientWithoutCertificate() throws {
        var options = OpenSSLPeer.Options()
        options.credentials = nil
        let server = try Endpoint(.server)
        let client = OpenSSLPeer(.client, options)
        #expect(try !client.handshake())
        try server.receive(client.takeOutput())
        client.feed(server.engine.takeHandshakeOutput())
        #expect(try client.handshake())
        let error = failure { try server.receive(client.takeOutput()) }
        #expect(error?.blame == .peer && error?.message.contains("no certificate") == true)
        client.feed(server.engine.takeHandshakeOutput())
        let told = #expect(throws: OpenSSLPeer.Failure.self) { _ = try client.read() }
        #expect(told?.description.contains("certificate required") == true)
    }

    /// A client of ours learns of it as an alert under the connection's keys: it thinks the handshake is over.
    @Test func refusalAfterTheClientIsDone() throws {
        let pair = try Pair()
        let error = failure { try pair.client.receive(pair.server.forge([2, 116], type: 21)) }
        #expect(error?.blame == .alert(.certificateRequired))
        #expect(pair.client.engine.state == .closed && pair.client.close().isEmpty)
    }

    @Test func olderVersion() throws {
        var options = OpenSSLPeer.Options()
        (options.minimum, options.maximum) = (TLS1_2_VERSION, TLS1_2_VERSION)
        let server = try Endpoint(.server)
        let client = OpenSSLPeer(.client, options)
        _ = try client.handshake()
        let error = failure { try server.receive(client.takeOutput()) }
        #expect(error?.blame == .peer && error?.message.contains("does not speak TLS 1.3") == true)
        client.feed(server.engine.takeHandshakeOutput())
        let told = #expect(throws: OpenSSLPeer.Failure.self) { _ = try client.handshake() }
        #expect(told?.description.contains("protocol version") == true)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: relay\r\n\r\n", "speaks HTTP"), ("SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "does not speak TLS"),
    ])
    func otherProtocols(_ text: String, _ expected: String) throws {
        let server = try Endpoint(.server)
        let error = failure { try server.receive(Array(text.utf8)) }
        #expect(error?.blame == .peer && error?.message.contains(expected) == true, "\(String(describing: error))")
    }

    @Test func endlessHandshakeIsBounded() throws {
        let server = try Endpoint(.server)
        // A client hello of 16 MiB that arrives record by record.
        let record: [UInt8] = [22, 3, 1, 0x40, 0] + [1, 0xFF, 0xFF, 0xFF] + [UInt8](repeating: 0, count: 16_380)
        var sent = 0
        let error = failure {
            while sent < 1 << 20 {
                try server.receive(record)
                sent += record.count
            }
        }
        #expect(error?.blame == .peer && sent <= 65_536)
    }

    /// Records that OpenSSL takes without an end: only our count stops them.
    @Test func handshakeOfTricklesIsBounded() throws {
        let server = try Endpoint(.server)
        let hello = try Endpoint(.client).handshakeOutput()
        // Each byte of the hello's first 100 in a record of its own, then nothing but change_cipher_spec.
        let changes = [[UInt8]](repeating: [20, 3, 3, 0, 1, 1], count: 20_000).joined()
        let error = failure { try server.receive(hello + changes) }
        #expect(error?.blame == .peer)
    }

    @Test(arguments: ["P-256", "P-384"])
    func otherGroups(_ group: String) throws {
        var options = OpenSSLPeer.Options()
        options.groups = group
        // Our client offers a share of X25519 only: the server asks again (HelloRetryRequest).
        for role in [TLSContext.Role.client, .server] {
            let pair = try MixedPair(role, options)
            #expect(pair.endpoint.engine.state == .established)
            #expect(try pair.send(pattern(5000)) == pattern(5000))
        }
    }

    @Test func otherKindOfCertificate() throws {
        var options = OpenSSLPeer.Options()
        options.credentials = .elliptic
        for role in [TLSContext.Role.client, .server] {
            let pair = try MixedPair(role, options)
            #expect(pair.endpoint.engine.peerPublicKeyDER == Credentials.elliptic.publicKeyDER)
        }
    }

    @Test func exporterIsThatOfOpenSSL() throws {
        for role in [TLSContext.Role.client, .server] {
            let pair = try MixedPair(role)
            #expect(pair.endpoint.engine.exporter == pair.peer.exporter())
        }
    }

    @Test func unusableCredentials() throws {
        let (relay, agent) = (Credentials.relay, Credentials.agent)
        let junk: [UInt8] = [1, 2, 3]
        for (certificate, key, words) in [
            (junk, relay.privateKeyDER, "certificate is not readable"),
            (relay.certificateDER, junk, "key is not readable"),
            (relay.certificateDER, [], "key is not readable"),
            (relay.certificateDER, agent.privateKeyDER, "does not belong"),
        ] {
            let error = failure {
                _ = try TLSContext(role: .server, certificateDER: certificate, privateKeyDER: key, alpn: [])
            }
            #expect(error?.blame == .local && error?.message.contains(words) == true, "\(String(describing: error))")
        }
        let error = failure { _ = try TLSContext.make(.client, alpn: [""]) }
        #expect(error?.blame == .local)
    }

    @Test func callsOutOfOrder() throws {
        let pair = try Pair()
        #expect(failure { _ = try pair.client.engine.handshake([1].rawSpan) }?.blame == .local)
        let fresh = try Endpoint(.client)
        let pool = BufferPool(capacity: 1024, keepsAtMost: 1)
        var output = OutputBuffer(from: pool)
        let hasBegun = fresh.engine.beginRecord(in: &output)
        let hasClosed = fresh.engine.closeNotify(into: &output)
        let waiting = output.count
        #expect(!hasBegun && fresh.engine.recordRoom == 0 && hasClosed && waiting == 0)
        #expect(failure { _ = try fresh.engine.openEmpty(pool) }?.blame == .local)
    }

    /// Random bytes in the place of a handshake's, and a handshake with some bytes changed: an error or patience, never
    /// a crash, and never a connection that was tampered with.
    @Test(arguments: [UInt64(1), 2, 3, 4])
    func garbage(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let context = try TLSContext.make(.server)
        for round in 0..<150 {
            let server = try Endpoint(context)
            var bytes = try Endpoint(.client).handshakeOutput()
            if round.isMultiple(of: 3) {
                bytes = (0..<Int.random(in: 1...700, using: &random)).map { _ in .random(in: 0...255, using: &random) }
            } else {
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
                }
            }
            _ = failure { try server.receive(bytes) }
            #expect(server.engine.state != .established, "seed \(seed), round \(round)")
        }
    }

    /// The server's answer with a byte changed. A few of them mean nothing (a record's old version number): then the
    /// connection is as good as any; otherwise there is none.
    @Test(arguments: [UInt64(5), 6])
    func changedAnswer(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for round in 0..<150 {
            let (client, server) = (try Endpoint(.client), try Endpoint(.server))
            try server.receive(try client.handshakeOutput())
            var answer = server.engine.takeHandshakeOutput()
            answer[Int.random(in: 0..<answer.count, using: &random)] ^= .random(in: 1...255, using: &random)
            let error = failure { try client.receive(answer) }
            guard client.engine.state == .established else {
                #expect(error != nil || client.engine.state == .handshaking, "seed \(seed), round \(round)")
                continue
            }
            try server.receive(client.engine.takeHandshakeOutput())
            #expect(server.engine.exporter == client.engine.exporter, "seed \(seed), round \(round)")
        }
    }
}

extension TLSEngine {
    /// Opens nothing.
    fileprivate func openEmpty(_ pool: BufferPool) throws -> Bool {
        var slice = pool.lease()
        slice.truncate(to: 0)
        _ = try open(&slice)
        return true
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
