// SPDX-License-Identifier: Apache-2.0

import Primitives

@testable import TLS

/// An engine with the buffers and the loop that a program has around it.
final class Endpoint {
    let engine: TLSEngine
    private let pool = BufferPool(capacity: 131_072, keepsAtMost: 4)
    /// Bytes of the network that are not opened yet.
    private var waiting: [UInt8] = []
    private(set) var plaintext: [UInt8] = []
    private(set) var isClosedByPeer = false

    init(_ context: TLSContext) throws { engine = try TLSEngine(context: context) }

    /// The agent's or the relay's side, with a context that all tests share.
    convenience init(_ role: TLSContext.Role) throws {
        try self.init(role == .client ? Self.agent.get() : Self.relay.get())
    }

    /// Without a handshake.
    init(_ role: TLSContext.Role, secret: [UInt8], suite: String) throws {
        engine = try TLSEngine(context: Self.agent.get(), role: role, secret: secret, suite: suite)
    }

    convenience init(_ role: TLSContext.Role, alpn: [String]) throws { try self.init(.make(role, alpn: alpn)) }

    private static let agent = Result { try TLSContext.make(.client) }
    private static let relay = Result { try TLSContext.make(.server) }

    /// Buffers that somebody still holds.
    var leased: Int { pool.leased }

    /// Takes bytes of the network, for the handshake or for the records.
    func receive(_ bytes: [UInt8]) throws(TLSError) {
        var bytes = bytes
        if engine.state == .handshaking {
            let consumed = try engine.handshake(bytes.rawSpan)
            bytes.removeFirst(consumed)
        }
        waiting += bytes
        if engine.state != .handshaking { try openAll() }
    }

    private func openAll() throws(TLSError) {
        while !waiting.isEmpty {
            let taken = min(waiting.count, pool.capacity)
            var ciphertext = pool.lease(copying: waiting.rawSpan.extracting(0..<taken))
            while try openOne(&ciphertext) {}
            let left = ciphertext.count
            waiting.removeFirst(taken - left)
            if taken == left || isClosedByPeer { return }
        }
    }

    /// False: nothing more can be opened.
    private func openOne(_ ciphertext: inout Slice) throws(TLSError) -> Bool {
        switch try engine.open(&ciphertext) {
        case .plaintext(let slice): slice.withUnsafeBytes { plaintext += $0 }
        case .nothing: break
        case .needMore: return false
        case .closeNotify:
            isClosedByPeer = true
            return false
        }
        return true
    }

    /// Begins the handshake, or takes what there is to send of it.
    func handshakeOutput() throws -> [UInt8] {
        if engine.state == .handshaking { _ = try engine.handshake([UInt8]().rawSpan) }
        return engine.takeHandshakeOutput()
    }

    /// Seals all bytes, as records that hold parts of a given size.
    func seal(_ bytes: [UInt8], part: Int = .max) -> [UInt8] {
        var sealed: [UInt8] = []
        var sent = 0
        while sent < bytes.count {
            var output = OutputBuffer(from: pool)
            while sent < bytes.count, engine.beginRecord(in: &output) {
                while sent < bytes.count, engine.recordRoom > 0 {
                    let count = min(part, engine.recordRoom, bytes.count - sent)
                    engine.seal(bytes.rawSpan.extracting(sent..<sent + count), into: &output)
                    sent += count
                }
                engine.endRecord(in: &output)
            }
            if output.isEmpty { break }
            output.withUnsafeBytes { sealed += $0 }
        }
        return sealed
    }

    func close() -> [UInt8] {
        var output = OutputBuffer(from: pool)
        engine.closeNotify(into: &output)
        return output.withUnsafeBytes { Array($0) }
    }

    func takePlaintext() -> [UInt8] {
        defer { plaintext = [] }
        return plaintext
    }

    /// Seals a record of any content, as a peer that misbehaves would.
    func forge(_ content: [UInt8], type: UInt8, padding: Int = 0) throws -> [UInt8] {
        let records = engine.records
        let inner = content + [type] + [UInt8](repeating: 0, count: padding)
        let length = inner.count + RecordCipher.tagLength
        var record: [UInt8] = [23, 3, 3, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)]
        record += inner + [UInt8](repeating: 0, count: RecordCipher.tagLength)
        let isSealed = record.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return false }
            return records.sending.begin(header: start)
                && records.sending.encrypt(start + 5, to: start + 5, count: inner.count)
                && records.sending.finish(tag: start + 5 + inner.count)
        }
        guard isSealed else { throw TLSError.local("not sealed") }
        return record
    }
}

extension TLSContext {
    /// The relay's or the agent's context, unless told otherwise.
    static func make(_ role: Role, _ credentials: Credentials? = nil, alpn: [String] = ["natfwt/1"]) throws
        -> TLSContext
    {
        let own = credentials ?? (role == .server ? .relay : .agent)
        return try TLSContext(
            role: role, certificateDER: own.certificateDER, privateKeyDER: own.privateKeyDER, alpn: alpn)
    }
}

/// Two engines whose handshake is over.
struct Pair {
    let client: Endpoint
    let server: Endpoint

    init() throws {
        client = try Endpoint(.client)
        server = try Endpoint(.server)
        try server.receive(try client.handshakeOutput())
        try client.receive(server.engine.takeHandshakeOutput())
        try server.receive(client.engine.takeHandshakeOutput())
    }
}

/// An engine and OpenSSL whose handshake is over.
struct MixedPair {
    let endpoint: Endpoint
    let peer: OpenSSLPeer

    init(_ role: TLSContext.Role, _ options: OpenSSLPeer.Options = .init()) throws {
        endpoint = try Endpoint(role)
        peer = OpenSSLPeer(role == .client ? .server : .client, options)
        if role == .client { peer.feed(try endpoint.handshakeOutput()) }
        for _ in 0..<4 {
            let isOver = try peer.handshake()
            try endpoint.receive(peer.takeOutput())
            peer.feed(endpoint.engine.takeHandshakeOutput())
            if isOver, endpoint.engine.state == .established { return }
        }
    }

    /// Bytes to OpenSSL.
    func send(_ bytes: [UInt8], part: Int = .max) throws -> [UInt8] {
        peer.feed(endpoint.seal(bytes, part: part))
        return try peer.read()
    }

    /// Bytes from OpenSSL.
    func receive(_ bytes: [UInt8]) throws -> [UInt8] {
        try peer.write(bytes)
        try endpoint.receive(peer.takeOutput())
        return endpoint.takePlaintext()
    }
}

/// Bytes that differ everywhere, so that a shift shows.
func pattern(_ count: Int) -> [UInt8] { Array(longPattern[..<count]) }

private let longPattern = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
