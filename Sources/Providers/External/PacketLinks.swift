// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Primitives
internal import Tunneling

/// Is asked about connections that other nodes make.
public protocol PacketLinksDelegate: AnyObject {
    /// Another node makes a connection: begin with it what is to lie on it, or answer false.
    func packetLinks(_ links: PacketLinks, accepts transport: PacketTransport, from remote: TransportID) -> Bool
}

/// The streams over packets that external providers carry: those that this node makes, and those that others make.
public final class PacketLinks {
    /// Not kept.
    public weak var delegate: (any PacketLinksDelegate)?

    private struct Key: Hashable {
        let instance: ObjectIdentifier
        let remote: TransportID
        let connection: UInt32
        /// Whether this side has made it.
        let isDialing: Bool
    }

    private var transports: [Key: PacketTransport] = [:]
    private let loop: EventLoop
    private unowned let platform: Platform
    private let local: TransportID
    private var random = SystemRandomNumberGenerator()

    private static let mostTransports = 1_024

    /// - Parameter local: this node's transport ID.
    public init(loop: EventLoop, platform: Platform, local: TransportID) {
        self.loop = loop
        self.platform = platform
        self.local = local
    }

    /// Makes a connection to another node over an instance. Where the provider turns out not to reach the node it fails.
    public func connect(to remote: TransportID, over instance: ProviderInstance) throws(PlatformError)
        -> PacketTransport
    {
        try make(UInt32.random(in: 1...UInt32.max, using: &random), to: remote, over: instance, isDialing: true)
    }

    private func make(
        _ connection: UInt32, to remote: TransportID, over instance: ProviderInstance, isDialing: Bool
    ) throws(PlatformError) -> PacketTransport {
        let limit = PacketLinks.mostTransports
        guard transports.count < limit else { throw .limitReached("packetTransports", limit) }
        guard local.address.family == .v6, remote.address.family == .v6 else { throw .unreachable(remote) }
        let stream = PacketStream(
            connection: connection, from: local.address, to: remote.address, isDialing: isDialing)
        let transport = PacketTransport(loop: loop, stream: stream, remote: remote, links: self)
        let key = Key(
            instance: ObjectIdentifier(instance), remote: remote, connection: connection, isDialing: isDialing)
        transports[key] = transport
        transport.instance = instance
        do throws(PlatformError) {
            transport.join(
                try platform.openEndpoint(
                    kind: .packet, from: local, to: remote, destination: EndpointDestination(port: 0), over: instance,
                    application: transport, now: loop.now))
        } catch {
            transports[key] = nil
            throw error
        }
        return transport
    }

    func remove(_ transport: PacketTransport) {
        guard let key = transports.first(where: { $0.value === transport })?.key else { return }
        transports[key] = nil
    }
}

extension PacketLinks: ExternalPacketReceiver {
    public func externalProvider(
        _ provider: ExternalProvider, received packet: consuming Slice, from remote: TransportID, to local: TransportID
    ) -> Slice? {
        guard PacketSegment.isSegment(packet.bytes) else { return packet }
        guard local == self.local, let instance = provider.instance,
            let (segment, _) = PacketSegment.read(packet.bytes, from: remote.address, to: local.address)
        else { return nil }
        let key = Key(
            instance: ObjectIdentifier(instance), remote: remote, connection: segment.connection,
            isDialing: !segment.isFromDialing)
        if let transport = transports[key] {
            transport.received(packet)
        } else if segment.isFromDialing, segment.mayOpen, let transport = accept(segment, from: remote, over: instance)
        {
            transport.received(packet)
        } else if let refusal = segment.refusal {
            var answer = OutputBuffer(from: loop.buffers)
            refusal.write(to: &answer, from: local.address, to: remote.address)
            provider.send(answer.bytes, luid: 0, from: local, to: remote)
        }
        return nil
    }

    private func accept(
        _ segment: PacketSegment, from remote: TransportID, over instance: ProviderInstance
    ) -> PacketTransport? {
        guard remote.address.isORCHID, remote != local, let delegate,
            let transport = try? make(segment.connection, to: remote, over: instance, isDialing: false)
        else { return nil }
        guard delegate.packetLinks(self, accepts: transport, from: remote) else {
            transport.close()
            return nil
        }
        return transport
    }

    public func externalProviderEnded(_ provider: ExternalProvider) {}
}
