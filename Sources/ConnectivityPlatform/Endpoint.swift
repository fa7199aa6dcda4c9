// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Where an endpoint leads.
public struct EndpointDestination: Hashable, Sendable {
    /// A host by name or address, where it is not the remote node itself.
    public var host: String?
    /// The address and the port, behind one another for the sake of size.
    private var place: PackedAddress
    /// Which of the exposed things it came through, by the number that the provider gave it.
    public var exposure: UInt32?

    /// - Parameter address: see ``address``.
    public init(port: UInt16, host: String? = nil, exposure: UInt32? = nil, address: IPAddress? = nil) {
        place = PackedAddress(address, port: port)
        self.host = host
        self.exposure = exposure
    }

    public var port: UInt16 {
        get { place.port }
        set { place = PackedAddress(place.ip, port: newValue) }
    }

    /// The address that the visitor had connected to or sent to, where it is known. It is told on; which node the
    /// endpoint leads to is ``Endpoint/remote``'s affair.
    public var address: IPAddress? {
        get { place.ip }
        set { place = PackedAddress(newValue, port: place.port) }
    }
}

/// One application socket as the platform sees it: between an ``EndpointApplication`` and a ``Provider``.
///
/// It lives on the platform's loop. Its references to the application, to the provider's context and to the instance
/// are strong until it has ended and nil from then on; every call on an ended endpoint does nothing.
///
///      REACHING ──▶ OPENING ──▶ OPEN ──▶ ENDED       from here: Platform.openEndpoint … indicateOpened
///                 ACCEPTING ──▶ OPEN                 from there: indicateEndpoint … acceptor says nil
///
/// ENDED follows each of them: by a reset of either side, by the session's end, or once both directions are finished.
/// Where many end at once they are ENDING first, so that no application reaches the provider through another's.
public final class Endpoint {
    public enum Kind: UInt8, Sendable {
        /// Bytes in order, with half-close.
        case stream
        case datagram
        /// Whole IP packets, for an adapter.
        case packet
    }

    enum State: UInt8 { case reaching, accepting, opening, open, ending, ended }

    public let luid: EndpointLUID
    public let kind: Kind
    /// This node's transport ID.
    public let local: TransportID
    public let remote: TransportID
    public let destination: EndpointDestination
    private let visitor: PackedAddress
    private let calls: PendedCalls

    /// Whose bytes these are. Set by whoever opens or accepts; nil once ended.
    public var application: (any EndpointApplication)?
    /// The provider's own object for the endpoint; nil once ended.
    public var providerContext: AnyObject?
    /// The instance that carries it; nil while it is not known who reaches the remote node, and once ended.
    public private(set) var instance: ProviderInstance?
    /// The instance's, as long as it has the endpoint: here too, to spare the hot path a step.
    private var provider: (any Provider)?

    /// Bytes that the provider takes now; at 0 the application stops reading from its own source. What is sent beyond
    /// it is still carried: a buffer that was read already need not be cut. Of no meaning for datagrams, which are dropped.
    public private(set) var sendRoom: Int
    /// Payload bytes so far.
    public private(set) var bytesSent: UInt64 = 0
    public private(set) var bytesReceived: UInt64 = 0

    /// Where it stands in its instance's list of endpoints, and in the platform's of those that are opening.
    var index: Int32 = -1
    var opening = DeadlineList<Endpoint>.none
    var state: State
    /// Set by an acceptor that takes the endpoint before it knows whether it can: the far side learns that it is open with
    /// ``confirm()``, and meanwhile may send only what a provider lets an endpoint carry that is not open yet.
    public var confirmsLater = false
    /// Whether bytes may pass now: one test each on the hot path.
    private var maySend = false
    private var mayReceive = false
    private var sendFinished = false
    private var receiveFinished = false

    init(
        luid: EndpointLUID, kind: Kind, local: TransportID, remote: TransportID, destination: EndpointDestination,
        source: TransportAddress?, state: State, calls: PendedCalls
    ) {
        self.luid = luid
        self.kind = kind
        self.local = local
        self.remote = remote
        self.destination = destination
        visitor = PackedAddress(source?.ip, port: source?.port ?? 0)
        sendRoom = kind == .stream ? 0 : .max
        self.state = state
        self.calls = calls
    }

    /// The visitor whose connection or flow this is, where it is known.
    public var source: TransportAddress? { visitor.address }
    public var hasEnded: Bool { state == .ended }
    /// Whether the far side has taken it.
    public var isOpen: Bool { state == .open }

    // MARK: - The application's side

    /// Sends the next bytes of a stream, a datagram or a packet. The slice goes to the provider.
    public func send(_ bytes: consuming Slice) {
        guard maySend, let provider else { return sendWrongly() }
        let count = bytes.count
        bytesSent &+= UInt64(truncatingIfNeeded: count)
        // Before the call, so that what the provider says in it holds.
        if kind == .stream { sendRoom = count < sendRoom ? sendRoom &- count : 0 }
        let call = calls.begin(for: instance.map(ObjectIdentifier.init))
        let answer = provider.sendBuffers(bytes, from: local, to: remote, endpoint: self, call: call)
        let outcome = calls.end(answer)
        if case .completed = outcome { return }
        instance?.settle(.sendBuffers(luid), call, outcome, now: nil)
    }

    /// No more bytes come (half-close). A datagram endpoint is over with it.
    public func finishSending() {
        guard isLive, !sendFinished else { return }
        guard state != .accepting else { return reset(.protocolViolation) }
        sendFinished = true
        maySend = false
        tellFinishedSending()
    }

    /// Breaks it off in both directions. The application is told from within, then the provider.
    public func reset(_ code: EndpointResetCode) {
        guard isLive else { return }
        end(.reset(code), tellProvider: code)
    }

    /// The application has taken so many of the received bytes: the far side may send as many more.
    public func consumed(_ count: Int) {
        guard count > 0, state == .open else { return }
        provider?.endpoint(self, consumed: count)
    }

    /// What the endpoint leads to is there: the far side is told, where it was not yet.
    public func confirm() {
        guard confirmsLater, state == .accepting || state == .open else { return }
        confirmsLater = false
        if state == .open { provider?.confirmEndpoint(self) }
    }

    // MARK: - The provider's side

    /// The far side took the endpoint.
    public func indicateOpened() {
        guard state == .opening else { return }
        opened()
        application?.endpointOpened(self)
    }

    /// The far side's next bytes, datagram or packet. The slice goes to the application. Bytes behind the end of the
    /// stream are a breach of the API and cost the session (obligation 32).
    public func indicateReceived(_ bytes: consuming Slice) {
        if !mayReceive {
            receiveEarlyOrLate()
            guard mayReceive else { return }
        }
        guard let application else { return }
        bytesReceived &+= UInt64(truncatingIfNeeded: bytes.count)
        application.endpoint(self, received: bytes)
    }

    /// The far side sends no more. A datagram endpoint is over with it.
    public func indicateReceivedEnd() {
        if state == .opening { indicateOpened() }
        guard state == .open, !receiveFinished else { return }
        receiveFinished = true
        mayReceive = false
        application?.endpointReceivedEnd(self)
        endIfFinished()
    }

    /// How many bytes the provider takes now, as a total and not as an addition.
    public func indicateSendRoom(_ bytes: Int) {
        let hadRoom = sendRoom > 0
        sendRoom = max(0, bytes)
        if !hadRoom, bytes > 0, maySend { application?.endpointSendRoom(self) }
    }

    /// The far side broke it off.
    public func indicateReset(_ code: EndpointResetCode) {
        guard isLive else { return }
        end(.reset(code), tellProvider: nil)
    }

    // MARK: - Inside

    /// Where the instance has it in its list.
    func attach(to instance: ProviderInstance, at index: Int) {
        self.instance = instance
        self.index = Int32(truncatingIfNeeded: index)
    }

    /// A provider is about to hear of it: bytes may be sent as soon as it gives room.
    func openingBegins() {
        provider = instance?.provider
        state = .opening
        maySend = !sendFinished
    }

    /// Both sides have it.
    func opened() {
        instance?.platform?.openingEnded(self)
        provider = instance?.provider
        state = .open
        maySend = !sendFinished
        mayReceive = !receiveFinished
    }

    /// Its instance's endpoints end: nothing passes from here on.
    func beginEnding() {
        guard isLive else { return }
        state = .ending
        maySend = false
        mayReceive = false
    }

    /// Tells the provider of a half-close, as soon as the provider has the endpoint.
    func tellFinishedSending() {
        guard sendFinished, state == .opening || state == .open else { return }
        provider?.finishSending(self)
        endIfFinished()
    }

    /// Ends it, once: the application is told, and where `code` is given the provider is told too.
    func end(_ end: EndpointEnd, tellProvider code: EndpointResetCode?) {
        guard state != .ended else { return }
        state = .ended
        maySend = false
        mayReceive = false
        let (instance, provider, application) = (self.instance, self.provider, self.application)
        self.application = nil
        self.instance = nil
        self.provider = nil
        instance?.remove(self)
        application?.endpointEnded(self, end)
        // The application may have ended the session from within: then nothing more is called.
        if let code, let instance, instance.lifeCycle.hasSession { provider?.resetEndpoint(self, code: code) }
        providerContext = nil
    }

    private var isLive: Bool { state != .ending && state != .ended }

    private func endIfFinished() {
        guard state == .opening || state == .open else { return }
        if sendFinished && receiveFinished || kind != .stream && (sendFinished || receiveFinished) {
            end(.finished, tellProvider: nil)
        }
    }

    /// A stream must not lose bytes silently, so that one that can't carry them breaks off; a datagram is dropped.
    private func sendWrongly() {
        guard state == .reaching || state == .accepting, kind == .stream, !sendFinished else { return }
        reset(.protocolViolation)
    }

    private func receiveEarlyOrLate() {
        if state == .opening { return indicateOpened() }
        guard state == .open, receiveFinished, let instance else { return }
        instance.terminate(
            SessionFault(.providerOtherFailure, "it indicated bytes behind the end of endpoint \(luid)"), now: nil)
    }
}
