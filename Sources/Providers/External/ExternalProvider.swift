// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Primitives

/// Is told what becomes of an external provider, on its loop.
protocol ExternalProviderDelegate: AnyObject {
    /// It asks to be registered: answer with ``ExternalProvider/register(_:...)`` or ``ExternalProvider/refuse(_:)``.
    func externalProvider(_ provider: ExternalProvider, asksFor registration: Registration)
    /// Everything of it is gone. The last call.
    func externalProviderEnded(_ provider: ExternalProvider)
}

/// Takes the packets that external providers receive.
public protocol ExternalPacketReceiver: AnyObject {
    /// A packet from a peer. One that this node has no use for is given back, for the platform's packet receiver.
    func externalProvider(
        _ provider: ExternalProvider, received packet: consuming Slice, from remote: TransportID, to local: TransportID
    ) -> Slice?
    func externalProviderEnded(_ provider: ExternalProvider)
}

/// A provider that is a program of its own and speaks through the C API: its calls are messages on a socket, packets lie in
/// memory that both share. ExternalProviders.md tells the whole of it.
///
///     CONNECTED ─ REGISTER ─▶ REGISTERED ─▶ (the platform's life cycle) ─▶ ENDED
///
/// Whatever it does wrong ends its session, and nothing else. Confined to its loop.
public final class ExternalProvider {
    public private(set) weak var instance: ProviderInstance?
    /// Its process.
    public let peer: PeerCredentials
    /// Whose sockets may use it: at first those of the user that registers.
    public internal(set) var admitted: AdmittedUsers
    /// Packets that found no room in the ring.
    public private(set) var packetsDropped: UInt64 = 0

    weak var delegate: (any ExternalProviderDelegate)?
    /// Where its packets go. Not kept.
    public weak var receiver: (any ExternalPacketReceiver)?

    private let loop: EventLoop
    private let socket: SessionSocket
    private let deadline: Duration
    private var rings: SharedRings?
    /// Calls that it has not answered, the oldest first.
    private var calls: [(call: PendedCall, kind: PlatformMessage.CallKind, until: Instant)] = []
    private var timer: LoopTimer?
    /// Until when it must have taken something out of the ring, and what it had taken before.
    private var takesUntil: Instant?
    private var takenBefore: UInt64 = 0
    private var isRegistered = false
    private var hasEnded = false
    /// It deregisters: it knows why the session ends.
    private var isLeaving = false
    private var isQueued = false
    /// Since when there are packets in the ring that it has not been told of.
    private var owesBellSince: Instant?
    /// It need not ring for its packets: they are looked for at each turn's end.
    private var readsOn = false
    /// Packets have passed since the last turn's end.
    private var isBusy = false
    /// Since when there has been nothing to do but wait for a packet.
    private var quietSince: Instant?

    /// Bytes that are taken from one provider before others have their turn, and before what came of them is written; a
    /// packet counts as so many more. So few that they are still in the core's cache then, and enough for one write to
    /// wake an application that waits, where smaller ones would wake it twice.
    private static let share = 1 << 20
    private static let packetCost = 4 << 10
    /// How long it may go without a bell while there is always more for it, told at a turn's end.
    private static let longestOwing = Duration.milliseconds(2)

    init(loop: EventLoop, socket: SessionSocket, peer: PeerCredentials, deadline: Duration) {
        self.loop = loop
        self.socket = socket
        self.peer = peer
        admitted = AdmittedUsers(user: peer.user)
        self.deadline = deadline
    }

    /// It must register within the deadline.
    func start() {
        timer = LoopTimer(loop: loop, delegate: self)
        socket.delegate = self
        socket.start()
        timer?.arm(after: deadline)
    }

    // MARK: Registration

    /// It is registered as `instance`: tells it so, and gives it the rings.
    func registered(as instance: ProviderInstance, rings: SharedRings) -> Bool {
        let luid = instance.interfaceLUID?.rawValue ?? 0
        let answer = PlatformMessage.registered(.ok, luid: luid, ringSize: rings.ringSize)
        defer { rings.closeDescriptor() }
        guard socket.send(answer.bytes, passing: rings) else { return false }
        _ = rings.sleep()
        self.rings = rings
        self.instance = instance
        isRegistered = true
        return true
    }

    /// It is not registered, for this reason; it may try again with another connection.
    func refuse(_ result: HRESULT) {
        socket.send(PlatformMessage.registered(result, luid: 0, ringSize: 0).bytes)
        end()
    }

    /// Lets go of everything: no message follows.
    func end() {
        guard !hasEnded else { return }
        hasEnded = true
        timer?.close()
        timer = nil
        calls = []
        rings = nil
        socket.close()
        receiver?.externalProviderEnded(self)
        delegate?.externalProviderEnded(self)
    }

    /// Ends the session with the fault, or the connection where there is none yet.
    private func fail(_ reason: SessionTerminationReason, _ message: String) {
        guard isRegistered, let instance, instance.state == .inSession || instance.state == .active else {
            return isRegistered ? deregister() : end()
        }
        instance.fail(SessionFault(reason, message), now: loop.now)
    }

    private func deregister() {
        guard let instance else { return end() }
        try? instance.deregister(now: loop.now)
        try? instance.destroy()
        end()
    }

    // MARK: Calls

    private func ask(_ kind: PlatformMessage.CallKind, _ id: TransportID?, _ call: PendedCall) -> CallOutcome {
        guard socket.send(PlatformMessage.call(call, kind, id).bytes) else {
            return .failed(SessionFault(.otherCommunicationError, "its process takes no more messages"))
        }
        calls.append((call, kind, loop.now + deadline))
        armTimer()
        return .pending
    }

    private func returned(_ call: PendedCall, _ result: HRESULT) {
        guard let index = calls.firstIndex(where: { $0.call == call }) else {
            return fail(.providerOtherFailure, "it answered a call that there is not")
        }
        let kind = calls.remove(at: index).kind
        try? instance?.complete(call, outcome(of: kind, result), now: loop.now)
    }

    private func outcome(of kind: PlatformMessage.CallKind, _ result: HRESULT) -> CallOutcome {
        guard result.isFailure else { return .completed }
        switch kind {
        case .addTransportID where result == .duplicate: return .refused
        case .reachTransportID where result != .fail: return .refused
        default: return .failed(SessionFault(.providerOtherFailure, "\(kind) failed with \(result)"))
        }
    }

    // MARK: Packets

    /// Whether there is more at once.
    private func readPackets() -> Bool {
        var left = ExternalProvider.share
        while left > 0 {
            guard let rings, !hasEnded else { return false }
            switch rings.read(into: loop.buffers) {
            case .nothing: return false
            case .rubbish:
                fail(.providerOtherFailure, "there is rubbish in its ring")
                return false
            case .packet(let packet, let local, let remote):
                isBusy = true
                hasWaited(rings)
                // Small ones cost more than their bytes.
                left -= packet.count + ExternalProvider.packetCost
                receive(packet, TransportID(remote), TransportID(local))
            }
        }
        return true
    }

    /// A packet has ended a wait, if there was one.
    private func hasWaited(_ rings: SharedRings) {
        guard let since = quietSince else { return }
        quietSince = nil
        rings.waited(loop.now - since)
    }

    /// One that comes before the session is active, or to an ID that was taken away, is lost as on any network.
    private func receive(_ packet: consuming Slice, _ remote: TransportID, _ local: TransportID) {
        guard let instance, instance.state == .active, instance.transportIDs.contains(local) else { return }
        if let receiver {
            guard let rest = receiver.externalProvider(self, received: packet, from: remote, to: local) else { return }
            try? instance.indicateReceivedBuffers(to: local, from: remote, rest.bytes)
        } else {
            try? instance.indicateReceivedBuffers(to: local, from: remote, packet.bytes)
        }
    }

    private func readOn() {
        if !readsOn {
            readsOn = true
            rings?.wake()
        }
        queueUp()
    }

    private func queueUp() {
        guard !isQueued else { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    /// Carries one packet, or drops it where there is no room.
    public func send(_ packet: RawSpan, luid: UInt64, from local: TransportID, to remote: TransportID) {
        guard let rings else { return }
        switch rings.write(packet, luid: luid, from: local.address, to: remote.address) {
        case .done:
            if owesBellSince == nil { owesBellSince = loop.now }
            isBusy = true
            // A wait begins when there is nothing more to do; a look is not made longer by what is sent meanwhile.
            if rings.patience == .zero { quietSince = nil }
            readOn()
            if takesUntil == nil { watchRing() }
        case .full: packetsDropped &+= 1
        case .rubbish: fail(.providerOtherFailure, "there is rubbish in its ring")
        }
    }

    /// Whether it has taken every packet, as it says.
    var hasTakenAll: Bool { rings.map { $0.taken == $0.written } ?? true }

    private func watchRing() {
        takenBefore = rings?.taken ?? 0
        takesUntil = loop.now + deadline
        armTimer()
    }

    private func armTimer() {
        guard isRegistered else { return }
        let first = min(calls.first?.until ?? .distantFuture, takesUntil ?? .distantFuture)
        if first < .distantFuture { timer?.arm(at: first) }
    }
}

extension ExternalProvider: Provider {
    public func establishSessionIndication(_ instance: ProviderInstance) {
        self.instance = instance
        socket.send(PlatformMessage.establish.bytes)
    }

    public func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {
        guard !isLeaving else { return }
        socket.send(PlatformMessage.terminate(reason).bytes)
        deregister()
    }

    public func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { ask(.addTransportID, id, call) }

    public func removeTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        ask(.removeTransportID, id, call)
    }

    public func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        ask(.reachTransportID, id, call)
    }

    public func transitionActive(call: PendedCall) -> CallOutcome { ask(.transitionActive, nil, call) }

    public func transitionInactive(call: PendedCall) -> CallOutcome { ask(.transitionInactive, nil, call) }

    public func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        send(bytes.bytes, luid: endpoint.luid.rawValue, from: local, to: remote)
        return .completed
    }

    public func openEndpoint(_ endpoint: Endpoint) {
        // Streams and datagrams lie on packets: see ``PacketTransport``.
        guard endpoint.kind == .packet else { return endpoint.indicateReset(.notAllowed) }
        endpoint.indicateOpened()
    }

    public func finishSending(_ endpoint: Endpoint) {}
    public func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {}
    public func endpoint(_ endpoint: Endpoint, consumed count: Int) {}
}

extension ExternalProvider: SessionSocketDelegate {
    public func sessionSocket(_ socket: SessionSocket, received message: RawSpan) {
        do throws(ProviderMessage.Malformed) {
            switch try ProviderMessage(message) {
            case .bell: break
            case .register(let registration):
                guard !isRegistered else { return fail(.providerOtherFailure, "it registered twice") }
                delegate?.externalProvider(self, asksFor: registration)
            case .returned(let call, let result): returned(call, result)
            case .failed(let result): fail(.providerOtherFailure, "SEND_BUFFERS failed with \(result)")
            case .deregister: leave()
            }
        } catch {
            fail(.providerOtherFailure, "it sent rubbish")
        }
    }

    private func leave() {
        guard isRegistered, let instance else { return end() }
        isLeaving = true
        try? instance.deregister(now: loop.now)
        try? instance.destroy()
        socket.send(PlatformMessage.deregistered.bytes)
        end()
    }

    public func sessionSocketReceived(_ socket: SessionSocket) { readOn() }

    public func sessionSocketEnded(_ socket: SessionSocket) {
        fail(.otherCommunicationError, "its process is gone, or has closed the connection")
    }
}

extension ExternalProvider: TurnEndTask {
    /// A wake-up of another process costs as much as the copies of many packets. So neither side is woken while this one
    /// has something to do: it looks for packets itself, and has the other look only when a turn has brought nothing, when
    /// much waits, or when something has waited for long.
    public func turnEnded() {
        let hasMore = readPackets()
        guard let rings else { return }
        let isUrgent = !isBusy || rings.waiting >= rings.ringSize / 8 * 3
        if let since = owesBellSince, isUrgent || hasOwedLong(since) { ringBell(rings) }
        if hasMore || isBusy {
            // The sockets have their turn first, where it has had its share.
            isBusy = hasMore
            loop.atNextTurnEnd(self)
        } else {
            waitForMore(rings)
        }
    }

    /// Looks on for a moment, turn by turn, or has the loop sleep.
    private func waitForMore(_ rings: SharedRings) {
        let since = quietSince ?? loop.now
        quietSince = since
        let patience = rings.patience
        if patience > .zero {
            guard loop.now - since >= patience else { return loop.atNextTurnEnd(self) }
            rings.lookedInVain()
        }
        if rings.sleep() {
            readsOn = false
            isQueued = false
        } else {
            // Something has come between the last look and this.
            loop.atTurnEnd(self)
        }
    }

    private func hasOwedLong(_ since: Instant) -> Bool { loop.now - since >= ExternalProvider.longestOwing }

    private func ringBell(_ rings: SharedRings) {
        owesBellSince = nil
        if rings.readerTakesBell() { socket.send(PlatformMessage.bell.bytes) }
    }
}

extension ExternalProvider: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        guard isRegistered else { return end() }
        if let first = calls.first, first.until <= loop.now {
            return fail(.providerTimeout, "it has not completed \(first.kind) in time")
        }
        if let takesUntil, takesUntil <= loop.now, let rings {
            let taken = rings.taken
            self.takesUntil = nil
            if taken != rings.written {
                guard taken != takenBefore else { return fail(.providerTimeout, "it has taken no packet in time") }
                watchRing()
            }
        }
        armTimer()
    }
}
