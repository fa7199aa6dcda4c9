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
    /// CPU of this process and the provider's for each GB, there and back.
    public var cpuPerGB = Duration.zero
}

extension ProviderTrial {
    /// Measures a provider that says that it reaches every ID and hands packets back. Nil where it does not.
    public func measure(_ arguments: [String]) throws(UVError) -> ProviderSpeed? {
        guard let (program, instance) = try start(arguments), let provider = provider(of: instance) else { return nil }
        defer { end(program) }
        let taker = PacketTaker()
        provider.receiver = taker
        var speed = ProviderSpeed()
        let before = Program.processorTime(with: program.process)
        let began = ContinuousClock.now
        speed.bulkBytesPerSecond = pump(provider, taker, size: 65_536, window: 8)
        let moved = speed.bulkBytesPerSecond * (ContinuousClock.now - began).inSeconds
        let used = Program.processorTime(with: program.process) - before
        speed.cpuPerGB = .seconds(used.inSeconds / (moved / 1e9))
        speed.packetsPerSecond = pump(provider, taker, size: 1_200, window: 256) / 1_200
        speed.roundTrip = pingPong(provider, taker)
        return taker.count > 0 ? speed : nil
    }

    /// Bytes a second that come back, with so many packets under way.
    private func pump(_ provider: ExternalProvider, _ taker: PacketTaker, size: Int, window: Int) -> Double {
        let packet = [UInt8](repeating: 0x60, count: size)
        let began = ContinuousClock.now
        let until = began + .seconds(2)
        let (remote, from) = (TransportID(IPAddress(v6: 1 << 120 | 1)), taker.count)
        var sent = 0
        taker.onPacket = {
            guard ContinuousClock.now < until else { return }
            while sent - (taker.count - from) < window {
                provider.send(packet.rawSpan, luid: 1, from: self.local, to: remote)
                sent += 1
            }
        }
        taker.onPacket()
        _ = runs(until: { taker.count - from >= sent }, within: .seconds(4))
        taker.onPacket = {}
        return Double((taker.count - from) * size) / (ContinuousClock.now - began).inSeconds
    }

    private func pingPong(_ provider: ExternalProvider, _ taker: PacketTaker) -> Duration {
        let packet = [UInt8](repeating: 0x60, count: 64)
        let remote = TransportID(IPAddress(v6: 1 << 120 | 1))
        var times: [Duration] = []
        var sentAt = ContinuousClock.now
        taker.onPacket = {
            times.append(ContinuousClock.now - sentAt)
            guard times.count < 20_000 else { return }
            sentAt = ContinuousClock.now
            provider.send(packet.rawSpan, luid: 1, from: self.local, to: remote)
        }
        provider.send(packet.rawSpan, luid: 1, from: local, to: remote)
        _ = runs(until: { times.count >= 20_000 }, within: .seconds(5))
        taker.onPacket = {}
        return times.isEmpty ? .zero : times.sorted()[times.count / 2]
    }
}

/// Counts packets that come back.
private final class PacketTaker: ExternalPacketReceiver {
    var count = 0
    var onPacket: () -> Void = {}

    func externalProvider(
        _ provider: ExternalProvider, received packet: consuming Slice, from remote: TransportID, to local: TransportID
    ) -> Slice? {
        count += 1
        onPacket()
        return nil
    }

    func externalProviderEnded(_ provider: ExternalProvider) {}
}
