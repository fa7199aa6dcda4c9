// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Primitives

/// How fast a provider is that hands packets back.
public struct ProviderSpeed: Sendable {
    public var bulkBytesPerSecond = 0.0
    public var packetsPerSecond = 0.0
    /// From SEND_BUFFERS to the other process and back.
    public var roundTrip = Duration.zero
    /// CPU of this process and the provider's for each GB in bulk, there and back.
    public var cpuPerGB = Duration.zero
    /// The same of a provider within this process that hands packets back.
    public var cpuPerGBWithin = Duration.zero
}

extension ProviderTrial {
    /// Bytes of a packet in bulk, and of one of those that are counted.
    private static let (bulk, packet) = (65_536, 1_200)

    /// Measures a provider that says that it reaches every ID and hands packets back. Nil where it does not.
    public func measure(_ arguments: [String]) throws(UVError) -> ProviderSpeed? {
        guard let (program, instance) = try start(arguments), let provider = provider(of: instance) else { return nil }
        defer { end(program) }
        guard let pump = PacketPump(self, over: instance) else { return nil }
        provider.receiver = pump
        var speed = ProviderSpeed()
        let bulk = pump.run(size: Self.bulk, window: 8)
        guard bulk.bytes > 0 else { return nil }
        speed.bulkBytesPerSecond = bulk.bytes / bulk.time.inSeconds
        speed.cpuPerGB = cpuPerGB(pump, with: program.process)
        let packets = pump.run(size: Self.packet, window: 256)
        speed.packetsPerSecond = packets.bytes / Double(Self.packet) / packets.time.inSeconds
        speed.roundTrip = pump.roundTrip()
        speed.cpuPerGBWithin = measureWithin()
        return speed
    }

    /// The same work with a provider that is no other process.
    private func measureWithin() -> Duration {
        let mirror = MirrorWithin()
        do throws(PlatformError) {
            let instance = try platform.createInstance(provider: mirror, name: "trial/within")
            mirror.instance = instance
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [local], now: loop.now)
            guard let pump = PacketPump(self, over: instance) else { return .zero }
            platform.packetReceiver = pump
            defer { platform.packetReceiver = nil }
            return cpuPerGB(pump, with: nil)
        } catch {
            return .zero
        }
    }

    private func cpuPerGB(_ pump: PacketPump, with process: Int32?) -> Duration {
        let before = Program.processorTime(with: process)
        let moved = pump.run(size: Self.bulk, window: 8).bytes
        return (Program.processorTime(with: process) - before) / (moved / 1e9)
    }
}

/// Sends packets over an instance, so many at once, and owns those that come back: what a platform does for an application.
private final class PacketPump {
    private let trial: ProviderTrial
    private let remote = TransportID(IPAddress(v6: 1 << 120 | 1))
    private var endpoint: Endpoint?
    private var packet: [UInt8] = []
    private var window = 0
    private var until = ContinuousClock.now
    private var sent = 0
    private var received = 0
    private var isSending = false
    private var onPacket: () -> Void = {}

    /// Nil where the instance does not reach every ID.
    init?(_ trial: ProviderTrial, over instance: ProviderInstance) {
        self.trial = trial
        endpoint = try? trial.platform.openEndpoint(
            kind: .packet, from: trial.local, to: remote, destination: EndpointDestination(port: 0), over: instance,
            application: self, now: trial.loop.now)
        guard trial.runs(until: { endpoint?.isOpen != false }), endpoint != nil else { return nil }
    }

    /// For 2 s, with so many packets of a size under way: the bytes that came back, and the time it took.
    func run(size: Int, window: Int) -> (bytes: Double, time: Duration) {
        packet = [UInt8](repeating: 0x60, count: size)
        self.window = window
        (sent, received) = (0, 0)
        onPacket = { self.refill() }
        let began = ContinuousClock.now
        until = began + .seconds(2)
        refill()
        _ = trial.runs(until: { received >= sent }, within: .seconds(4))
        onPacket = {}
        return (Double(received * size), ContinuousClock.now - began)
    }

    private func refill() {
        // A provider within this process answers from within send().
        guard !isSending else { return }
        isSending = true
        defer { isSending = false }
        while sent - received < window, ContinuousClock.now < until { send() }
    }

    private func send() {
        sent += 1
        let bytes = packet
        let slice = trial.loop.buffers.lease(copying: bytes.rawSpan)
        endpoint?.send(slice)
    }

    /// The median of 20,000, with one packet under way.
    func roundTrip() -> Duration {
        packet = [UInt8](repeating: 0x60, count: 64)
        var times: [Duration] = []
        var sentAt = ContinuousClock.now
        onPacket = {
            times.append(ContinuousClock.now - sentAt)
            guard times.count < 20_000 else { return }
            sentAt = ContinuousClock.now
            self.send()
        }
        send()
        _ = trial.runs(until: { times.count >= 20_000 }, within: .seconds(5))
        onPacket = {}
        return times.isEmpty ? .zero : times.sorted()[times.count / 2]
    }

    private func take(_ packet: consuming Slice) {
        received += 1
        onPacket()
    }
}

extension PacketPump: EndpointApplication {
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) { take(bytes) }
    func endpointReceivedEnd(_ endpoint: Endpoint) {}
    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) { self.endpoint = nil }
}

extension PacketPump: ExternalPacketReceiver {
    func externalProvider(
        _ provider: ExternalProvider, received packet: consuming Slice, from remote: TransportID, to local: TransportID
    ) -> Slice? {
        take(packet)
        return nil
    }

    func externalProviderEnded(_ provider: ExternalProvider) {}
}

extension PacketPump: PacketReceiver {
    func platform(
        _ platform: Platform, received packet: RawSpan, over instance: ProviderInstance, from remote: TransportID,
        to local: TransportID
    ) {
        take(trial.loop.buffers.lease(copying: packet))
    }
}

/// What the mirror among the test programs does, within this process.
private final class MirrorWithin: Provider {
    weak var instance: ProviderInstance?

    func establishSessionIndication(_ instance: ProviderInstance) {}
    func terminateSessionIndication(_ instance: ProviderInstance, reason: SessionTerminationReason, message: String) {}
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }
    func openEndpoint(_ endpoint: Endpoint) { endpoint.indicateOpened() }
    func finishSending(_ endpoint: Endpoint) {}
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {}
    func endpoint(_ endpoint: Endpoint, consumed count: Int) {}

    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        try? instance?.indicateReceivedBuffers(to: local, from: remote, bytes.bytes)
        return .completed
    }
}
