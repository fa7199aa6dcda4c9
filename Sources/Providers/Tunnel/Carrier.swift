// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Primitives
public import TLS
public import Tunneling

/// Is told what becomes of a carrier, on its loop.
public protocol CarrierDelegate: AnyObject {
    /// The TLS handshake is over: the peer's key is known, and no byte of the tunnel was looked at yet.
    /// - Throws: why this peer's carrier is not wanted.
    func carrierEstablished(_ carrier: Carrier) throws(SessionFault)
    /// The carrier is dead, and closed already. The last call.
    func carrier(_ carrier: Carrier, failed fault: SessionFault)
}

/// One TLS connection with a tunnel on it: transport, cipher and frames put together.
///
///     read ─▶ open each record in place ─▶ Tunnel.receive          Tunnel.fill ─▶ seal into the output ─▶ write
///
/// What it lies on is a TCP connection, or a stream of another tunnel (``CarrierTransport``).
/// A byte is copied by the cipher alone: a record that lies across two reads is the exception, and is put together first.
public final class Carrier {
    public let tunnel: Tunnel
    /// The peer, where the connection comes from or goes to.
    public let remoteAddress: TransportAddress?
    public weak var delegate: (any CarrierDelegate)?
    /// Whether the peer has sent a byte.
    public private(set) var hasHeardPeer = false

    private let loop: EventLoop
    private let transport: any CarrierTransport
    private let context: TLSContext
    private var engine: TLSEngine
    /// The beginning of a record whose rest has not come yet.
    private var partial: Slice?
    private var partialCount = 0
    private var isInRecord = false
    private var isFinishing = false
    private var hasSaidClose = false
    private var isClosed = false
    /// How long the peer may be silent before it is asked.
    private var interval = Duration.zero
    private var timer: LoopTimer?
    private var timerDeadline = Instant.distantFuture
    /// Until when the introduction must be over.
    private var introductionDeadline: Instant?

    /// How long a peer may take to close its side once it was told that this side is done.
    private static let lingering: Duration = .seconds(2)

    /// Takes over a connected transport. Call ``start()`` next.
    /// - Parameters:
    ///   - role: this side's in the tunnel; without it the same as in TLS.
    ///   - patience: how long TLS and the introduction may take together.
    public init(
        loop: EventLoop, transport: any CarrierTransport, context: TLSContext, role: Tunnel.Role? = nil,
        limits: TunnelLimits, livenessInterval: Duration, patience: Duration
    ) throws(TLSError) {
        self.loop = loop
        self.transport = transport
        self.context = context
        engine = try TLSEngine(context: context)
        remoteAddress = transport.remoteAddress
        let usual: Tunnel.Role = context.role == .client ? .dialing : .accepting
        tunnel = Tunnel(role: role ?? usual, limits: limits, livenessInterval: livenessInterval, now: loop.now)
        introductionDeadline = loop.now + patience
        watch(livenessInterval)
    }

    /// The key that the peer has proven to have (SubjectPublicKeyInfo, DER).
    public var peerPublicKeyDER: [UInt8] { engine.peerPublicKeyDER }

    /// The name of the cipher suite that was agreed on; empty before.
    public var cipherSuite: String { engine.cipherSuite }

    /// Begins the handshake. The transport keeps the carrier from here on.
    public func start() {
        timer = LoopTimer(loop: loop, delegate: self)
        transport.begin(for: self)
        armTimer()
        if context.role == .client { shakeHands([UInt8]().rawSpan) }
    }

    /// There is something to send.
    public func setNeedsOutput() { transport.setNeedsOutput() }

    /// The peer is admitted: from here on it is silence that ends the carrier.
    public func introductionEnded(livenessInterval: Duration) {
        introductionDeadline = nil
        watch(livenessInterval)
        armTimer()
    }

    /// From here on the other side is another one, with which a secret is shared: the records that follow are its own. To be
    /// called when a record was received whole, and nothing waits to be sent.
    func changeKeys(secret: [UInt8], suite: String) throws(TLSError) {
        let role: TLSContext.Role = tunnel.role == .dialing ? .client : .server
        engine = try TLSEngine(context: context, role: role, secret: secret, suite: suite)
    }

    /// Sends what waits and lets go of the connection, whose next bytes in either direction are no records of this carrier's.
    /// The delegate is not called any more.
    /// - Returns: nil where it is no TCP connection, or the system does not take what waits at once; it is closed then.
    public func surrender() -> TCPStream? {
        guard !isClosed, !isFinishing, partial == nil, let stream = transport as? TCPStream else {
            close()
            return nil
        }
        var output = OutputBuffer(from: loop.carrierBuffers)
        fill(&output)
        isClosed = true
        delegate = nil
        timer?.close()
        timer = nil
        return stream.surrender(behind: output.takeAll()) ? stream : nil
    }

    private func watch(_ interval: Duration) {
        self.interval = interval
        transport.watch(interval)
    }

    /// Sends what waits, says goodbye and closes. The delegate is not called any more.
    public func finish() {
        guard !isClosed, !isFinishing else { return }
        isFinishing = true
        delegate = nil
        guard engine.state == .established else { return close() }
        timer?.arm(after: Self.lingering)
        transport.setNeedsOutput()
        transport.finishWriting()
    }

    /// Closes at once. The delegate is not called any more.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        delegate = nil
        timer?.close()
        timer = nil
        partial = nil
        transport.close()
    }

    private func fail(_ fault: SessionFault) {
        let delegate = self.delegate
        // The peer is told, where it can be.
        if engine.state != .handshaking, !isFinishing { finish() } else { close() }
        delegate?.carrier(self, failed: fault)
    }
}

// MARK: - From the transport

extension Carrier {
    /// The next bytes.
    func received(_ bytes: consuming Slice) {
        guard !isFinishing else { return }
        if engine.state == .handshaking {
            hasHeardPeer = true
            let consumed = shakeHands(bytes.bytes)
            guard !isClosed, !isFinishing else { return }
            bytes.removeFirst(consumed)
        }
        openRecords(&bytes)
        if !isClosed, !isFinishing { armTimer() }
    }

    /// The peer sends no more.
    func receivedEnd() {
        guard !isFinishing else { return close() }
        // Nobody is left to say goodbye to, nor will anything come that could end the wait for an answer.
        let (delegate, fault) = (self.delegate, SessionFault(.otherCommunicationError, endMessage))
        close()
        delegate?.carrier(self, failed: fault)
    }

    /// The transport has failed, and is closed already.
    func transportFailed(_ fault: SessionFault) {
        guard !isFinishing else { return close() }
        fail(fault)
    }

    /// How long the peer may be silent before it is asked.
    var livenessInterval: Duration { interval }

    private var endMessage: String {
        switch engine.state {
        case .handshaking: "the other side closed the connection during the TLS handshake"
        default: "the other side closed the connection"
        }
    }

    /// - Returns: bytes that the handshake has consumed.
    @discardableResult
    private func shakeHands(_ received: RawSpan) -> Int {
        do throws(TLSError) {
            let consumed = try engine.handshake(received)
            sendHandshake()
            if engine.state == .established { established() }
            return consumed
        } catch {
            sendHandshake()
            fail(SessionFault(error))
            return 0
        }
    }

    private func sendHandshake() {
        let output = engine.takeHandshakeOutput()
        var start = 0
        while start < output.count {
            let end = min(output.count, start + loop.buffers.capacity)
            transport.write(loop.buffers.lease(copying: Array(output[start..<end]).rawSpan))
            start = end
        }
    }

    private func established() {
        do throws(SessionFault) { try delegate?.carrierEstablished(self) } catch { fail(error) }
    }

    private func openRecords(_ bytes: inout Slice) {
        do throws(TLSError) {
            if partial != nil { try completePartial(&bytes) }
            while !isClosed, !isFinishing, !bytes.isEmpty {
                guard try openRecord(&bytes) else { return keepPartial(bytes.bytes) }
            }
        } catch {
            fail(SessionFault(error))
        }
    }

    /// - Returns: false where the record is not whole.
    private func openRecord(_ bytes: inout Slice) throws(TLSError) -> Bool {
        switch try engine.open(&bytes) {
        case .plaintext(let plaintext): receive(plaintext)
        case .needMore: return false
        case .nothing: transport.setNeedsOutput()
        case .closeNotify: fail(SessionFault(.otherCommunicationError, endMessage))
        }
        return true
    }

    private func receive(_ plaintext: consuming Slice) {
        do throws(TunnelError) {
            try tunnel.receive(plaintext, now: loop.now)
        } catch {
            tunnel.goAway(GoAway(code: error.code, text: error.message))
            fail(SessionFault(error))
        }
    }

    /// Fills the record that was begun with what it lacks, and opens it once it is whole.
    private func completePartial(_ bytes: inout Slice) throws(TLSError) {
        guard var record = partial.take() else { return }
        var wanted = RecordHeader.wanted(of: record.bytes.extracting(0..<partialCount))
        while wanted > 0, !bytes.isEmpty {
            let taken = min(wanted, bytes.count)
            guard partialCount + taken <= record.count else {
                return fail(SessionFault(.providerOtherFailure, "the other side sent a TLS record that is too long"))
            }
            record.overwrite(at: partialCount, with: bytes.bytes.extracting(0..<taken))
            partialCount += taken
            bytes.removeFirst(taken)
            wanted = RecordHeader.wanted(of: record.bytes.extracting(0..<partialCount))
        }
        guard wanted == 0 else {
            partial = consume record
            return
        }
        record.truncate(to: partialCount)
        _ = try openRecord(&record)
    }

    private func keepPartial(_ rest: RawSpan) {
        var record = loop.buffers.lease()
        record.overwrite(at: 0, with: rest)
        partialCount = rest.byteCount
        partial = consume record
    }
}

// MARK: - To the transport

extension Carrier: FrameSink {
    /// Appends what there is to send; nothing where there is nothing more.
    func fill(_ output: inout OutputBuffer) {
        guard engine.state != .handshaking else { return }
        let hadOutput = tunnel.fill(&output, through: self, now: loop.now)
        if isInRecord {
            isInRecord = false
            engine.endRecord(in: &output)
        }
        if isFinishing, !hadOutput, !hasSaidClose {
            hasSaidClose = true
            engine.closeNotify(into: &output)
        }
        if !isFinishing { armTimer() }
    }

    public func append(_ bytes: RawSpan, to output: inout OutputBuffer) {
        var rest = bytes
        while !rest.isEmpty {
            if !isInRecord {
                guard engine.beginRecord(in: &output) else { return }
                isInRecord = true
            }
            let count = min(engine.recordRoom, rest.byteCount)
            engine.seal(rest.extracting(0..<count), into: &output)
            rest = rest.extracting(count..<rest.byteCount)
            if engine.recordRoom == 0 {
                engine.endRecord(in: &output)
                isInRecord = false
            }
        }
    }
}

// MARK: - Time

extension Carrier: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        timerDeadline = .distantFuture
        guard !isFinishing else { return close() }
        if let introductionDeadline, loop.now >= introductionDeadline {
            return fail(SessionFault(.providerTimeout, "the other side did not finish the handshake in time"))
        }
        guard tunnel.handleTimeout(now: loop.now) else {
            return fail(SessionFault(.providerTimeout, "the other side has been silent for too long"))
        }
        armTimer()
    }

    /// The timer is moved only to an earlier time; one that fires too early looks again.
    private func armTimer() {
        let deadline = min(tunnel.nextDeadline, introductionDeadline ?? .distantFuture)
        guard deadline < timerDeadline else { return }
        timerDeadline = deadline
        timer?.arm(at: deadline)
    }
}
