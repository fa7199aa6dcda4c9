// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

extension Instant {
    /// Seconds from an arbitrary start.
    static func at(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(1_000_000_000_000 + seconds * 1e9)) }
}

extension TransportID {
    static let here = TransportID(IPAddress(v6: 0x2001_0020 << 96 | 1))
    static let there = TransportID(IPAddress(v6: 0x2001_0020 << 96 | 2))
    static let elsewhere = TransportID(IPAddress(v4: 0xC000_0201))
}

/// The same numbers from the same seed (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What happened, in order, to everybody in a test.
final class Log {
    var lines: [String] = []
    func take() -> [String] {
        defer { lines = [] }
        return lines
    }
}

/// A provider that does what the test says, and writes down what it was asked.
final class ScriptedProvider: Provider, Performer {
    let name: String
    let log: Log
    weak var instance: ProviderInstance?
    /// The calls that were pended, oldest first.
    var pended: [PendedCall] = []
    var terminations: [(reason: SessionTerminationReason, message: String)] = []
    var sent: [[UInt8]] = []

    var onEstablish: () -> Void = {}
    var onTerminate: () -> Void = {}
    var onAdd: (TransportID, PendedCall) -> CallOutcome = { _, _ in .completed }
    var onRemove: (TransportID, PendedCall) -> CallOutcome = { _, _ in .completed }
    var onReach: (TransportID, PendedCall) -> CallOutcome = { _, _ in .completed }
    var onActive: (PendedCall) -> CallOutcome = { _ in .completed }
    var onInactive: (PendedCall) -> CallOutcome = { _ in .completed }
    var onSend: (Endpoint, PendedCall) -> CallOutcome = { _, _ in .completed }
    var onOpen: (Endpoint) -> Void = { _ in }
    var onFinish: (Endpoint) -> Void = { _ in }
    var onReset: (Endpoint) -> Void = { _ in }

    init(_ name: String = "p", log: Log = Log()) {
        self.name = name
        self.log = log
        Stage.current?.enter(self)
    }

    func letGo() {
        (onEstablish, onTerminate) = ({}, {})
        (onAdd, onRemove, onReach) = ({ _, _ in .completed }, { _, _ in .completed }, { _, _ in .completed })
        (onActive, onInactive, onSend) = ({ _ in .completed }, { _ in .completed }, { _, _ in .completed })
        (onOpen, onFinish, onReset) = ({ _ in }, { _ in }, { _ in })
    }

    func establishSessionIndication(_ instance: ProviderInstance) {
        write("establish")
        self.instance = instance
        onEstablish()
    }
    func terminateSessionIndication(_ instance: ProviderInstance, reason: SessionTerminationReason, message: String) {
        write("terminate \(reason)")
        terminations.append((reason, message))
        onTerminate()
    }
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        write("add \(id)")
        return note(onAdd(id, call), call)
    }
    func removeTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        write("remove \(id)")
        return note(onRemove(id, call), call)
    }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome {
        write("reach \(id)")
        return note(onReach(id, call), call)
    }
    func transitionActive(call: PendedCall) -> CallOutcome {
        write("active")
        return note(onActive(call), call)
    }
    func transitionInactive(call: PendedCall) -> CallOutcome {
        write("inactive")
        return note(onInactive(call), call)
    }
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        write("send \(bytes.count) \(local) \(remote)")
        sent.append(bytes.bytes.withUnsafeBytes { Array($0) })
        return note(onSend(endpoint, call), call)
    }
    func openEndpoint(_ endpoint: Endpoint) {
        write("open")
        onOpen(endpoint)
    }
    func finishSending(_ endpoint: Endpoint) {
        write("finish")
        onFinish(endpoint)
    }
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {
        write("reset \(code)")
        onReset(endpoint)
    }
    func endpoint(_ endpoint: Endpoint, consumed count: Int) { write("consumed \(count)") }

    private func write(_ line: String) { log.lines.append("\(name): \(line)") }

    private func note(_ outcome: CallOutcome, _ call: PendedCall) -> CallOutcome {
        if outcome == .pending { pended.append(call) }
        return outcome
    }
}

/// An application that writes down what it is told.
final class ScriptedApplication: EndpointApplication, Performer {
    let name: String
    let log: Log
    var received: [[UInt8]] = []
    var ends: [EndpointEnd] = []
    var onOpened: (Endpoint) -> Void = { _ in }
    var onReceived: (Endpoint) -> Void = { _ in }
    var onReceivedEnd: (Endpoint) -> Void = { _ in }
    var onEnded: (Endpoint) -> Void = { _ in }

    init(_ name: String = "a", log: Log = Log()) {
        self.name = name
        self.log = log
        Stage.current?.enter(self)
    }

    func letGo() {
        (onOpened, onReceived, onReceivedEnd, onEnded) = ({ _ in }, { _ in }, { _ in }, { _ in })
    }

    func endpointOpened(_ endpoint: Endpoint) {
        log.lines.append("\(name): opened")
        onOpened(endpoint)
    }
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        log.lines.append("\(name): received \(bytes.count)")
        received.append(bytes.bytes.withUnsafeBytes { Array($0) })
        onReceived(endpoint)
    }
    func endpointReceivedEnd(_ endpoint: Endpoint) {
        log.lines.append("\(name): received end")
        onReceivedEnd(endpoint)
    }
    func endpointSendRoom(_ endpoint: Endpoint) { log.lines.append("\(name): room \(endpoint.sendRoom)") }
    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        ends.append(end)
        log.lines.append("\(name): ended \(end)")
        onEnded(endpoint)
    }
}

final class ScriptedAcceptor: EndpointAcceptor {
    var accept: (Endpoint) -> EndpointResetCode? = { _ in .refused }
    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? { accept(endpoint) }
}

final class RecordingReceiver: PacketReceiver {
    var packets: [(bytes: [UInt8], remote: TransportID, local: TransportID)] = []
    func platform(
        _ platform: Platform, received packet: RawSpan, over instance: ProviderInstance, from remote: TransportID,
        to local: TransportID
    ) {
        packets.append((packet.withUnsafeBytes { Array($0) }, remote, local))
    }
}

/// A platform with what stands around it.
final class World: Performer {
    let platform: Platform
    let acceptor = ScriptedAcceptor()
    let pool = BufferPool(capacity: 1_024, keepsAtMost: 4)
    let log = Log()
    var now = Instant.at(0)

    init(_ change: (inout PlatformConfiguration) -> Void = { _ in }, seed: UInt64 = 1) {
        var configuration = PlatformConfiguration()
        change(&configuration)
        platform = Platform(configuration: configuration, random: SeededRandom(seed))
        platform.acceptor = acceptor
        Stage.current?.enter(self)
    }

    deinit { letGo() }

    func letGo() {
        acceptor.accept = { _ in .refused }
        platform.shutdown(now: now)
        for instance in platform.instances {
            try? instance.deregister(now: now)
            try? instance.destroy()
        }
    }

    func provider(_ name: String = "p") -> ScriptedProvider { ScriptedProvider(name, log: log) }
    func application(_ name: String = "a") -> ScriptedApplication { ScriptedApplication(name, log: log) }

    func bytes(_ bytes: [UInt8]) -> Slice { pool.lease(copying: bytes.rawSpan) }

    func instance(
        _ provider: ScriptedProvider, in state: InstanceState = .active, preference: Int = 0
    ) throws -> ProviderInstance {
        let instance = try platform.createInstance(provider: provider, name: provider.name, preference: preference)
        provider.instance = instance
        guard state != .created else { return instance }
        guard state != .destroyed else {
            try instance.destroy()
            return instance
        }
        try instance.register(now: now)
        guard state != .registered else { return instance }
        guard state != .deregistered else {
            try instance.deregister(now: now)
            return instance
        }
        if state == .inSession { provider.onActive = { _ in .pending } }
        try instance.begin(transportIDs: [.here], now: now)
        if state == .terminated { instance.fail(SessionFault(.otherCommunicationError, "broken pipe"), now: now) }
        #expect(instance.state == state)
        return instance
    }

    func open(
        _ application: ScriptedApplication, kind: Endpoint.Kind = .stream, over instance: ProviderInstance? = nil,
        to remote: TransportID = .there
    ) throws -> Endpoint {
        try platform.openEndpoint(
            kind: kind, from: .here, to: remote, destination: EndpointDestination(port: 80), over: instance,
            application: application, now: now)
    }

    /// Lets time pass, up to the platform's next deadline at the most.
    func advance(_ seconds: Double) {
        now = now + .nanoseconds(Int64(seconds * 1e9))
        platform.handleTimeout(now: now)
    }
}
