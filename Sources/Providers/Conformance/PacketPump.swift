// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// Takes what comes back over a ``PacketLink``.
protocol PacketLinkOwner: AnyObject {
    func packetLink(_ link: PacketLink, received packet: consuming Slice)
}

/// Sends packets over one instance, and hands its owner those that come back in buffers that are the owner's: the same way
/// whether the provider is within this process or another one.
final class PacketLink {
    weak var owner: (any PacketLinkOwner)?
    private let loop: EventLoop
    private let remote = TransportID(IPAddress(v6: 1 << 120 | 1))
    private var endpoint: Endpoint?

    /// Nil where the instance does not reach every ID.
    init?(_ trial: ProviderTrial, over instance: ProviderInstance) {
        loop = trial.loop
        endpoint = try? trial.platform.openEndpoint(
            kind: .packet, from: trial.local, to: remote, destination: EndpointDestination(port: 0), over: instance,
            application: self, now: trial.loop.now)
        guard trial.runs(until: { endpoint?.isOpen != false }), endpoint != nil else { return nil }
    }

    func send(_ packet: consuming Slice) { endpoint?.send(packet) }
}

extension PacketLink: EndpointApplication {
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        owner?.packetLink(self, received: bytes)
    }

    func endpointReceivedEnd(_ endpoint: Endpoint) {}
    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) { self.endpoint = nil }
}

extension PacketLink: ExternalPacketReceiver {
    func externalProvider(
        _ provider: ExternalProvider, received packet: consuming Slice, from remote: TransportID, to local: TransportID
    ) -> Slice? {
        owner?.packetLink(self, received: packet)
        return nil
    }

    func externalProviderEnded(_ provider: ExternalProvider) {}
}

extension PacketLink: PacketReceiver {
    func platform(
        _ platform: Platform, received packet: RawSpan, over instance: ProviderInstance, from remote: TransportID,
        to local: TransportID
    ) {
        owner?.packetLink(self, received: loop.buffers.lease(copying: packet))
    }
}

/// Sends packets made of nothing over a link, so many at once: what the provider alone can do.
final class PacketPump {
    private let trial: ProviderTrial
    private let link: PacketLink
    private var packet: [UInt8] = []
    private var window = 0
    private var until = ContinuousClock.now
    private var sent = 0
    private var received = 0
    private var isSending = false
    private var onPacket: () -> Void = {}

    init(_ trial: ProviderTrial, over link: PacketLink) {
        self.trial = trial
        self.link = link
        link.owner = self
    }

    /// For a time, with so many packets of a size under way: the bytes that came back, and the time it took.
    func run(size: Int, window: Int, for time: Duration) -> (bytes: Double, time: Duration) {
        packet = [UInt8](repeating: 0x60, count: size)
        self.window = window
        (sent, received) = (0, 0)
        onPacket = { self.refill() }
        let began = ContinuousClock.now
        until = began + time
        refill()
        let isDone = drain()
        return (isDone ? Double(received * size) : 0, ContinuousClock.now - began)
    }

    /// Waits for what is under way, which would be the next pump's otherwise.
    private func drain() -> Bool {
        defer { onPacket = {} }
        return trial.runs(until: { received >= sent }, within: .seconds(10))
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
        link.send(trial.loop.buffers.lease(copying: bytes.rawSpan))
    }

    /// The median of 20,000, or of as many as there are in 5 s, with one packet under way.
    func roundTrip() -> Duration {
        packet = [UInt8](repeating: 0x60, count: 64)
        (sent, received) = (0, 0)
        var times: [Duration] = []
        var sentAt = ContinuousClock.now
        until = sentAt + .seconds(5)
        onPacket = {
            times.append(ContinuousClock.now - sentAt)
            guard times.count < 20_000, ContinuousClock.now < self.until else { return }
            sentAt = ContinuousClock.now
            self.send()
        }
        send()
        return drain() && !times.isEmpty ? times.sorted()[times.count / 2] : .zero
    }
}

extension PacketPump: PacketLinkOwner {
    func packetLink(_ link: PacketLink, received packet: consuming Slice) {
        received += 1
        onPacket()
    }
}
