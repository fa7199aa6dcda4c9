// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
public import EventLoop
internal import Primitives

/// How fast a provider is that hands packets back, and what it costs.
public struct ProviderSpeed: Sendable {
    /// What processor time goes into a GB there and back: this process's, and the provider's where it has one of its own.
    public struct Cost: Sendable {
        public var perGB = Duration.zero
        /// The same of a provider within this process that hands packets back.
        public var perGBWithin = Duration.zero

        public var timesWithin: Double { perGB / perGBWithin }
    }

    public var bulkBytesPerSecond = 0.0
    public var packetsPerSecond = 0.0
    /// From SEND_BUFFERS to the other process and back.
    public var roundTrip = Duration.zero
    /// Of an application's bytes, from the connection that they come on to the one that they go back on; the application's own
    /// time is not in it.
    public var carrying = Cost()
    /// Of packets made of nothing that nobody takes: what the provider adds alone.
    public var bare = Cost()
}

extension ProviderTrial {
    /// Bytes of a packet in bulk, and of one of those that are counted.
    private static let (bulk, packet) = (65_536, 1_200)
    /// The two providers take turns with the application, so that what else the machine does meets both, and medians count.
    private static let (turns, turn) = (16, Duration.milliseconds(250))
    /// How long each of the other figures is measured.
    private var time: Duration { .seconds(2) / haste }

    /// Measures a provider that says that it reaches every ID and hands packets back. Nil where it does not.
    /// - Parameter application: the command that calls ``TrialApplication/run(port:)`` with the port that is added to it.
    public func measure(_ arguments: [String], application: [String]) throws(UVError) -> ProviderSpeed? {
        guard let (program, instance) = try start(arguments), let provider = provider(of: instance) else { return nil }
        defer { end(program) }
        guard let link = PacketLink(self, over: instance), let within = linkWithin() else { return nil }
        provider.receiver = link
        platform.packetReceiver = within
        defer { platform.packetReceiver = nil }
        var speed = ProviderSpeed()
        guard measure(PacketPump(self, over: link), &speed) else { return nil }
        speed.bare = bareCost(link, program.process, within)
        guard let pump = try ApplicationPump(self, command: application) else { return nil }
        defer { pump.end() }
        guard let carrying = carryingCost(pump, link, program.process, within) else { return nil }
        speed.carrying = carrying
        return speed
    }

    private func measure(_ pump: PacketPump, _ speed: inout ProviderSpeed) -> Bool {
        let bulk = pump.run(size: Self.bulk, window: 8, for: time)
        guard bulk.bytes > 0 else { return false }
        speed.bulkBytesPerSecond = bulk.bytes / bulk.time.inSeconds
        let packets = pump.run(size: Self.packet, window: 256, for: time)
        speed.packetsPerSecond = packets.bytes / Double(Self.packet) / packets.time.inSeconds
        speed.roundTrip = pump.roundTrip()
        return true
    }

    /// To a provider that is no other process and does the same.
    private func linkWithin() -> PacketLink? {
        let mirror = MirrorWithin()
        do throws(PlatformError) {
            let instance = try platform.createInstance(provider: mirror, name: "trial/within")
            mirror.instance = instance
            try instance.register(now: loop.now)
            try instance.begin(transportIDs: [local], now: loop.now)
            return PacketLink(self, over: instance)
        } catch {
            return nil
        }
    }

    private func bareCost(_ link: PacketLink, _ process: Int32, _ within: PacketLink) -> ProviderSpeed.Cost {
        func cost(_ link: PacketLink, _ process: Int32?) -> Duration {
            let pump = PacketPump(self, over: link)
            return spent(with: process) { pump.run(size: Self.bulk, window: 8, for: time).bytes }?.perGB ?? .zero
        }
        return ProviderSpeed.Cost(perGB: cost(link, process), perGBWithin: cost(within, nil))
    }

    /// Nil where the application or the provider has ended before.
    private func carryingCost(
        _ pump: ApplicationPump, _ link: PacketLink, _ process: Int32, _ within: PacketLink
    ) -> ProviderSpeed.Cost? {
        var (other, own): ([Duration], [Duration]) = ([], [])
        // The first turn of each warms up.
        for turn in 0...Self.turns / haste {
            let one = spent(with: process) { pump.run(over: link, for: Self.turn) }
            let two = spent(with: nil) { pump.run(over: within, for: Self.turn) }
            guard let one, let two else { return nil }
            // Where the kernel has lost a segment TCP pauses for longer than a turn lasts.
            guard turn > 0, one.bytes > 0, two.bytes > 0 else { continue }
            other.append(one.perGB)
            own.append(two.perGB)
        }
        guard !other.isEmpty else { return nil }
        let middle = other.count / 2
        return ProviderSpeed.Cost(perGB: other.sorted()[middle], perGBWithin: own.sorted()[middle])
    }

    /// Processor time, and the bytes that were moved with it.
    private struct Spending {
        var time: Duration
        var bytes: Double

        var perGB: Duration { bytes > 0 ? time / (bytes / 1e9) : .zero }
    }

    private func spent(with process: Int32?, _ work: () -> Double?) -> Spending? {
        let before = Program.processorTime(with: process)
        guard let bytes = work() else { return nil }
        return Spending(time: Program.processorTime(with: process) - before, bytes: bytes)
    }
}
