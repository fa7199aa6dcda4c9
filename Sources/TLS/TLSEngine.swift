// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What one call of ``TLSEngine/open(_:)`` found.
public enum Opened: ~Copyable {
    /// Data: a view of the buffer that held the ciphertext, which is now its plaintext. Never empty.
    case plaintext(Slice)
    /// The record is not whole yet; nothing was consumed.
    case needMore
    /// A record without data: a key update, a ticket, padding. Go on with the next.
    case nothing
    /// The peer will send no more.
    case closeNotify
}

/// One TLS 1.3 connection, without any I/O: bytes in, bytes out. OpenSSL does the handshake; then it is freed, and our
/// own record layer seals and opens in the buffers of the loop, with the keys that the handshake agreed on.
///
/// Or there was no handshake, and the keys come from a secret that the two sides have already.
///
/// Belongs to one loop. After an error it is closed; ``closeNotify(into:)`` then seals the alert for the peer.
public final class TLSEngine {
    /// How far the connection is.
    public enum State: Sendable { case handshaking, established, closed }

    /// Plaintext bytes in a record at most.
    public static let maxPlaintext = RecordLayer.maxPlaintext
    /// Bytes that a record is longer than its plaintext.
    public static let overhead = RecordLayer.overhead

    /// The peer's certificate (X.509, DER) once established, else empty.
    public private(set) var peerCertificateDER: [UInt8] = []
    /// The peer's public key (SubjectPublicKeyInfo, DER), whose possession it has proven; empty before.
    public private(set) var peerPublicKeyDER: [UInt8] = []
    /// The application protocol agreed on.
    public private(set) var negotiatedALPN: String?
    /// The channel binding tls-exporter (RFC 9266), 32 bytes; empty before the handshake is over.
    public private(set) var exporter: [UInt8] = []

    private let context: TLSContext
    private var handshake: Handshake?
    private var handshakeOutput: [UInt8] = []
    /// Tests look at it.
    let records: RecordLayer

    /// - Throws: a local error where memory has run out.
    public init(context: TLSContext) throws(TLSError) {
        self.context = context
        records = RecordLayer(role: context.role)
        handshake = try Handshake(context: context)
    }

    /// A connection that needs no handshake: the two sides have a secret already, which nobody else knows and which serves for
    /// this connection only. They are who they are by how they came to have it. The traffic secrets (RFC 8446, 7.1) are
    /// HKDF-Expand-Label of it with the labels "natfwt client" and "natfwt server".
    ///
    /// - Parameters:
    ///   - role: each side has another one.
    ///   - suite: the name of the cipher suite, the same on both sides.
    /// - Throws: a local error where the suite is none of the context's, or memory has run out.
    public init(context: TLSContext, role: TLSContext.Role, secret: [UInt8], suite name: String) throws(TLSError) {
        self.context = context
        records = RecordLayer(role: role)
        guard let suite = context.suites.first(where: { $0.name == name }) else {
            throw .local("there is no cipher suite \(name)")
        }
        let shared = SecretBytes(copying: secret)
        let client = try suite.expandLabel("natfwt client", from: shared, count: suite.hashLength)
        let server = try suite.expandLabel("natfwt server", from: shared, count: suite.hashLength)
        switch role {
        case .client: try records.install(suite, sending: client, receiving: server)
        case .server: try records.install(suite, sending: server, receiving: client)
        }
    }

    public var state: State {
        if failure != nil { return .closed }
        guard handshake == nil else { return .handshaking }
        return records.hasSentClose && records.hasReceivedClose ? .closed : .established
    }

    /// Why the connection cannot go on, if so.
    public var failure: TLSError? { records.failure }
    /// Whether the peer ended its side as it should: without this, the end of its bytes is a truncation.
    public var hasReceivedCloseNotify: Bool { records.hasReceivedClose }
    /// The name of the cipher suite agreed on, empty before.
    public var cipherSuite: String { records.suiteName }
}

// MARK: - Handshake

extension TLSEngine {
    /// Goes on with the handshake; a client begins it with an empty span. Ask ``takeHandshakeOutput()`` after each
    /// call, after an error too.
    ///
    /// - Returns: bytes consumed: all, until ``state`` is `.established`; what is left then is for ``open(_:)``.
    /// - Throws: what ended the handshake. A peer may send 64 KiB at most.
    public func handshake(_ received: RawSpan) throws(TLSError) -> Int {
        guard let handshake else { throw failure ?? .local("the TLS handshake is over") }
        do {
            let (consumed, isOver) = try handshake.advance(received)
            handshakeOutput += handshake.takeOutput()
            if isOver { try establish(handshake) }
            return consumed
        } catch {
            handshakeOutput += handshake.takeOutput()
            self.handshake = nil
            records.fail(error)
            throw error
        }
    }

    /// The handshake's bytes for the peer since the last call.
    public func takeHandshakeOutput() -> [UInt8] {
        defer { handshakeOutput = [] }
        return handshakeOutput
    }

    private func establish(_ handshake: Handshake) throws(TLSError) {
        try handshake.giveKeys(to: records, context: context)
        self.handshake = nil
        (peerCertificateDER, peerPublicKeyDER) = try handshake.peer()
        negotiatedALPN = handshake.protocolName
        exporter = try handshake.exporter()
        guard context.alpn.isEmpty || negotiatedALPN != nil else {
            throw .peer("the other side does not speak this application protocol", .noApplicationProtocol)
        }
    }
}

// MARK: - Records

extension TLSEngine {
    /// Opens one record, in place, and drops its bytes from `ciphertext`.
    ///
    /// - Throws: what ended the connection; the same again on every later call.
    public func open(_ ciphertext: inout Slice) throws(TLSError) -> Opened {
        try records.open(&ciphertext)
    }

    /// Begins a record at the end of `output`, which nobody else may change before ``endRecord(in:)``.
    ///
    /// - Returns: false where there is no room for a record, or nothing can be sent (any more): none is begun then.
    @discardableResult
    public func beginRecord(in output: inout OutputBuffer) -> Bool {
        records.beginRecord(in: &output)
    }

    /// Plaintext bytes that still fit the record that is begun; 0 without one.
    public var recordRoom: Int { records.recordRoom }

    /// Adds bytes to the record; they must fit ``recordRoom``. The part that fills it is not copied.
    public func seal(_ part: RawSpan, into output: inout OutputBuffer) {
        records.seal(part, into: &output)
    }

    /// Ends the record: now its bytes wait in `output`. A record to which nothing was added leaves nothing.
    public func endRecord(in output: inout OutputBuffer) {
        records.endRecord(in: &output)
    }

    /// Seals the end of our side, or after an error the alert that tells the peer why; once only. Records of the peer
    /// can still be opened after an end without an error.
    ///
    /// - Returns: false where `output` has no room for it (24 bytes).
    @discardableResult
    public func closeNotify(into output: inout OutputBuffer) -> Bool {
        records.close(into: &output)
    }
}
