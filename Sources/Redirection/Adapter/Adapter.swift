// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// The bounds of an adapter.
public struct AdapterLimits: Sendable {
    /// Flows of packets that are known at once.
    public var flows: Int
    /// How long a flow of datagrams lives without one.
    public var flowTimeout: Duration
    /// Other nodes that packets go to at once.
    public var nodes = 1_024

    public init(flows: Int, flowTimeout: Duration) {
        self.flows = flows
        self.flowTimeout = flowTimeout
    }
}

/// A network interface of this host that leads to the other nodes: what a program sends to a node's transport ID goes there
/// as the packet that it is, and what other nodes send comes in where it is served, or answers this host.
///
///     program ─▶ kernel ─▶ device ─▶ policy ─▶ link to the node ══ tunnel ══▶ link ─▶ policy ─▶ device ─▶ kernel ─▶ service
///
/// Large packets pass whole with their offload headers. While a link is full the device is not read, so that packets wait
/// in the kernel, whose senders then slow down. Confined to its loop.
public final class Adapter {
    /// The MTU in bytes: IPv6's least (RFC 8200, 5), so that no path needs fragments and none has to be discovered. Today's
    /// carrier, TLS over TCP, could take any; over DTLS a packet of it needs 1,280 + 10 (offload header) + 8 (frame)
    /// + 37 (DTLS record) + 48 (UDP, IPv6) = 1,383 bytes, which paths of 1,500, of 1,492 (PPPoE) and of 1,420 (another
    /// tunnel) have, and with a second DTLS around it, through a relay, 1,428, which 1,492 has. What TCP loses by it is
    /// little: its segments pass by the fifty in one packet.
    public static let mtu = 1_280
    /// The prefix of all transport IDs: 2001:20::/28 (RFC 7343).
    public static let prefix = 28
    static func isTransportID(_ address: UInt128) -> Bool { address >> 100 == 0x2001_002 }

    public private(set) var counters = AdapterCounters()
    /// This node's transport ID.
    public let address: IPAddress
    /// Called when the device is gone without ``close()``.
    public var onFailure: ((UVError) -> Void)?

    private let loop: EventLoop
    private let router: any PacketRouter
    private let log: LogSampler
    private let limits: AdapterLimits
    private let own: UInt128
    /// Bytes before each packet on its way to and from other nodes: the offload header, or none.
    private let headerSize: Int
    private var policy: PacketPolicy
    private let names: AdapterNames?
    private var run = DatagramRun()
    private var device: PacketDevice?
    private var links: [UInt128: PacketLink] = [:]
    /// The one that was used last: most packets come in runs.
    private var lastLink: PacketLink?
    private var timer: LoopTimer?
    /// The link for which the device is not read, and until when at the most if others have packets too.
    private var blocking: PacketLink?
    private var messages: TokenBucket

    private static let idleTime: Duration = .seconds(120)
    private static let tick: Duration = .seconds(1)
    /// How long a node that takes nothing may hold up packets to others.
    private static let patience: Duration = .milliseconds(50)
    /// Messages to other nodes in a second that tell why a packet did not come in.
    private static let messageRate = 200.0

    /// Carries packets from now on, until it is closed.
    /// - Parameters:
    ///   - file: a device with the address `address`, the route of the transport IDs, and the MTU ``mtu``; it refuses offload
    ///     where the router does not carry it.
    ///   - address: this node's transport ID.
    ///   - served: what other nodes may reach here.
    ///   - names: answers DNS at ``AdapterNames/address``; nil: nobody does.
    public init(
        loop: EventLoop, file: consuming PacketDeviceFile, address: IPAddress, served: ServedPorts,
        router: any PacketRouter, names: AdapterNames?, limits: AdapterLimits, log: LogSampler
    ) throws(UVError) {
        self.loop = loop
        self.address = address
        self.router = router
        self.names = names
        self.log = log
        self.limits = limits
        own = address.value
        headerSize = router.carriesOffload ? OffloadHeader.size : 0
        var random = SystemRandomNumberGenerator()
        let flows = PacketFlows(
            most: limits.flows, lifetimes: PacketFlows.Lifetimes(datagrams: limits.flowTimeout), seed: random.next())
        policy = PacketPolicy(own: own, served: served, router: router, flows: flows)
        messages = TokenBucket(rate: Adapter.messageRate, burst: Adapter.messageRate, now: loop.now)
        device = try PacketDevice(loop: loop, file: file, delegate: self)
        timer = LoopTimer(loop: loop, delegate: self)
        timer?.arm(after: Adapter.tick)
    }

    /// The interface's name; empty once closed.
    public var name: String { device?.name ?? "" }
    /// Packets that this host's kernel did not take.
    public var refusedByKernel: UInt64 { device?.refused ?? 0 }
    /// Nodes that packets go to or come from.
    public var nodes: Int { links.count }
    /// Flows of packets that are known.
    public var flows: Int { policy.flows.count(now: loop.now) }

    /// Takes the packets that another node wants to send.
    public func accept(_ endpoint: Endpoint) -> EndpointResetCode? {
        guard let link = link(to: endpoint.remote.address.value) else { return .limit }
        link.accept(endpoint)
        return nil
    }

    /// Ends everything; the interface goes, unless somebody else holds it too.
    public func close() {
        device?.close()
        device = nil
        timer?.close()
        timer = nil
        blocking = nil
        lastLink = nil
        names?.close()
        let links = self.links
        self.links = [:]
        for link in links.values { link.close() }
    }

    // MARK: Links

    private func link(to node: UInt128) -> PacketLink? {
        if let lastLink, lastLink.peer.address.value == node { return lastLink }
        let link: PacketLink
        if let found = links[node] {
            link = found
        } else {
            guard links.count < limits.nodes else { return nil }
            link = PacketLink(peer: TransportID(IPAddress(v6: node)), owner: self, now: loop.now)
            links[node] = link
        }
        lastLink = link
        return link
    }

    /// A better way to a node is there: its packets take it from here on.
    public func takeAnotherWay(to node: TransportID) { links[node.address.value]?.takeAnotherWay(now: loop.now) }

    private func sweep() {
        let now = loop.now
        for (node, link) in links {
            link.endIfIdle(for: Adapter.idleTime, now: now)
            if link.isForgettable(now: now) {
                links[node] = nil
                if lastLink === link { lastLink = nil }
            }
        }
    }

    private func count(_ drop: PacketDrop) { counters.count(drop) }
}

// MARK: - From this host

extension Adapter: PacketDeviceDelegate {
    public func packetDevice(_ device: PacketDevice, received frame: consuming Slice) {
        let packet: IPv6Packet
        do throws(IPv6Packet.Fault) {
            guard frame.count > OffloadHeader.size else { return count(.malformed) }
            packet = try IPv6Packet(frame.bytes.extracting(OffloadHeader.size..<frame.count))
        } catch {
            if error == .fragment { tellFragment(frame.bytes) }
            return count(PacketDrop(error))
        }
        if packet.destination == AdapterNames.address.value { return ask(packet, frame.bytes) }
        if let drop = policy.send(packet, now: loop.now) {
            if drop == .notPermitted { answer(.prohibited, packet, frame.bytes.extracting(OffloadHeader.size...)) }
            return count(drop)
        }
        guard DatagramRun.takes(packet, frame.bytes) else {
            sendRun()
            return send(frame, packet)
        }
        if run.append(frame.bytes, packet, from: loop.buffers) { return }
        sendRun()
        run.begin(frame, packet)
        loop.atTurnEnd(self)
    }

    /// Sends the datagrams that were put together.
    private func sendRun() {
        guard let packet = run.packet, let frame = run.take() else { return }
        send(frame, packet)
    }

    private func send(_ frame: consuming Slice, _ packet: IPv6Packet) {
        guard let link = link(to: packet.destination) else { return count(.full) }
        let size = frame.count - OffloadHeader.size
        frame.removeFirst(OffloadHeader.size - headerSize)
        // Kept for the answer that it may get.
        let copy = frame.share()
        switch link.send(frame, through: router, now: loop.now) {
        case .sent:
            counters.packetsSent &+= 1
            counters.bytesSent &+= UInt64(truncatingIfNeeded: size)
            if link.isFull { block(for: link) }
        case .full:
            count(.full)
        case .unreachable(let failure): refuse(packet, copy.bytes.extracting(headerSize...), failure)
        }
    }

    /// A packet of this host's can't be brought to its node: the program is told at once.
    private func refuse(_ packet: IPv6Packet, _ original: RawSpan, _ failure: RouteFailure) {
        count(.unreachable)
        log.log(
            .notice, kind: "adapter \(packet.destination)", now: loop.now, "a packet can't be brought to its node",
            metadata: ["node": "\(IPAddress(v6: packet.destination))", "why": "\(failure)"])
        answer(UnreachableMessage.Code(failure.code), packet, original)
    }

    /// A question of DNS; what is none is refused, TCP too: it would be for answers that are longer than any of a node's.
    private func ask(_ packet: IPv6Packet, _ frame: RawSpan) {
        guard packet.source == own else { return count(.source) }
        let original = frame.extracting(OffloadHeader.size...)
        let isAsked = names?.answer(packet, original) {
            [weak self] header, answer in self?.device?.write(header, answer.rawSpan)
        }
        guard isAsked != true else { return }
        count(.notServed)
        answer(.prohibited, packet, original)
    }

    private func tellFragment(_ frame: RawSpan) {
        log.log(
            .notice, kind: "adapter fragment", now: loop.now,
            "a program sends datagrams that are too large for the adapter",
            metadata: ["at-most": "\(Adapter.mtu - IPv6Packet.headerSize - 8)"])
    }

    private func answer(_ code: UnreachableMessage.Code, _ packet: IPv6Packet, _ original: RawSpan) {
        guard let message = UnreachableMessage(code, from: packet.destination, about: packet, original) else { return }
        device?.write(PacketDeviceFile.Header(repeating: 0), message.bytes.rawSpan)
    }

    /// Leaves what comes in the kernel until the link has room.
    private func block(for link: PacketLink) {
        guard blocking == nil else { return }
        blocking = link
        device?.stopReading()
        if links.count > 1 { timer?.arm(after: Adapter.patience) }
    }

    private func unblock() {
        guard blocking != nil else { return }
        blocking = nil
        device?.startReading()
    }

    public func packetDevice(_ device: PacketDevice, failed error: UVError) {
        self.device = nil
        let onFailure = self.onFailure
        close()
        onFailure?(error)
    }
}

extension Adapter: TurnEndTask {
    public func turnEnded() { sendRun() }
}

extension Adapter: LoopTimerDelegate {
    public func timerFired(_ timer: LoopTimer) {
        // One node that takes nothing holds up the others no longer: what goes there is dropped until it has room.
        if links.count > 1 { unblock() }
        sweep()
        timer.arm(after: Adapter.tick)
    }
}

// MARK: - From other nodes

extension Adapter: PacketLinkOwner {
    func packetLink(_ link: PacketLink, received frame: RawSpan) {
        guard frame.byteCount > OffloadHeader.size else { return count(.malformed) }
        link.usedAt = loop.now
        receive(
            frame.extracting(OffloadHeader.size...), from: link.peer, offload: frame.extracting(..<OffloadHeader.size))
    }

    /// Takes a packet that has come from another node by another way than a link's: it has no offload header.
    /// - Parameter node: who has sent it, by the word of whoever brings it.
    public func receive(_ packet: RawSpan, from node: TransportID) { receive(packet, from: node, offload: nil) }

    /// Counts a packet whose sender may be somebody else than it says.
    public func refuseSender() { count(.source) }

    private func receive(_ bytes: RawSpan, from node: TransportID, offload: RawSpan?) {
        let packet: IPv6Packet
        do throws(IPv6Packet.Fault) { packet = try IPv6Packet(bytes) } catch { return count(PacketDrop(error)) }
        if let drop = policy.receive(packet, bytes, from: node.address.value, now: loop.now) {
            if drop == .notServed { turnAway(packet, bytes, node) }
            return count(drop)
        }
        var header = OffloadHeader.plain
        if let offload {
            guard let said = try? OffloadHeader(offload, for: packet) else { return count(.malformed) }
            header = said
        }
        counters.packetsReceived &+= 1
        counters.bytesReceived &+= UInt64(truncatingIfNeeded: bytes.byteCount)
        if header.segmentation == .udp, device?.takesLargeUDP == false {
            return write(DatagramSegments(packet, size: Int(header.segmentSize)), of: packet, bytes)
        }
        device?.write(header.bytes(for: packet), bytes)
    }

    private func write(_ segments: DatagramSegments, of packet: IPv6Packet, _ bytes: RawSpan) {
        var segments = segments
        let header = segments.header.bytes(for: packet)
        while let segment = segments.cut(bytes) { device?.write(header, segment.rawSpan) }
    }

    func packetLinkHasRoom(_ link: PacketLink) {
        if blocking === link { unblock() }
    }

    func packetLink(_ link: PacketLink, cannotSend frame: RawSpan, _ failure: RouteFailure) {
        let original = frame.extracting(headerSize...)
        guard let packet = try? IPv6Packet(original) else { return }
        refuse(packet, original, failure)
    }

    /// The other node's program is told that it may not: its connect(2) fails at once.
    private func turnAway(_ packet: IPv6Packet, _ bytes: RawSpan, _ node: TransportID) {
        log.log(
            .notice, kind: "not served", now: loop.now, "a node sent packets for what is not served to it",
            metadata: [
                "node": "\(router.names(of: node).last ?? node.description)",
                "to": "\(packet.transport) \(packet.destinationPort)",
            ])
        guard messages.take(now: loop.now), let link = link(to: node.address.value),
            let message = UnreachableMessage(.prohibited, from: own, about: packet, bytes)
        else { return }
        let plain = [UInt8](repeating: 0, count: headerSize)
        let frame = loop.buffers.lease(copying: (plain + message.bytes).rawSpan)
        _ = link.send(frame, through: router, now: loop.now)
    }
}
