// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Primitives

/// Who is behind a transport ID, and how it is reached.
public protocol PacketRouter: AnyObject {
    /// Opens an endpoint for packets to a node. Otherwise as ``Router/open(_:to:source:application:completion:)``.
    func openPackets(
        to node: TransportID, application: any EndpointApplication,
        completion: @escaping (Result<Endpoint, RouteFailure>) -> Void)
    /// All by which a node is known here: its transport ID, its key's fingerprint, its name. Empty while there is no session
    /// with it.
    func names(of node: TransportID) -> [String]
    /// Whether packets go with their offload headers, so that one may stand for many and its checksum be made by the other
    /// node's kernel; else each is whole, of the MTU at most, and nothing before it.
    var carriesOffload: Bool { get }
    /// Whether the program of this host that begins a flow may. Asked once a flow.
    /// - Parameter kind: `.stream` for TCP, `.datagram` for UDP.
    func mayBegin(_ kind: Endpoint.Kind, from local: TransportAddress, to remote: TransportAddress) -> Bool
}

extension PacketRouter {
    public var carriesOffload: Bool { true }
    public func mayBegin(_ kind: Endpoint.Kind, from local: TransportAddress, to remote: TransportAddress) -> Bool {
        true
    }
}

/// Which packets pass an adapter: what this host sends with its own transport ID, and of what another node sends with
/// its own what is served to it, or answers something of this host's.
struct PacketPolicy: ~Copyable {
    private let own: UInt128
    private let served: ServedPorts
    private unowned let router: any PacketRouter
    var flows: PacketFlows

    init(own: UInt128, served: ServedPorts, router: any PacketRouter, flows: consuming PacketFlows) {
        self.own = own
        self.served = served
        self.router = router
        self.flows = flows
    }

    // MARK: Outwards

    /// A packet of this host's: why it goes no further, or nil. Answers to it may come in from here on.
    mutating func send(_ packet: IPv6Packet, now: Instant) -> PacketDrop? {
        guard packet.source == own else { return .source }
        guard Adapter.isTransportID(packet.destination), packet.destination != own else { return .destination }
        guard let key = outwardKey(packet) else {
            // Answers and errors need no flow.
            let isAnswer = packet.icmpType == ICMPv6.echoReply || ICMPv6.errors.contains(packet.icmpType)
            return isAnswer ? nil : .transport
        }
        // A port may be another user's by now: whose it is is looked at again with each connection.
        let begins = packet.tcpFlags.opens
        if !begins, flows.touch(key, flags: packet.tcpFlags, outwards: true, now: now) { return nil }
        // A RST answers what did not come in as a flow, or ends what is none any more.
        if packet.transport == .tcp, packet.tcpFlags.contains(.rst) { return nil }
        let answers = isServed(key)
        guard answers || mayBegin(packet) else { return .notPermitted }
        if begins, flows.touch(key, flags: packet.tcpFlags, outwards: true, now: now) { return nil }
        flows.insert(key, answers ? .there(rules: served.generation) : .here, now: now)
        return nil
    }

    /// An echo has no socket that can be found by its packets, and says nothing: it is anybody's.
    private func mayBegin(_ packet: IPv6Packet) -> Bool {
        guard packet.transport != .icmp else { return true }
        return router.mayBegin(
            packet.transport == .tcp ? .stream : .datagram,
            from: TransportAddress(IPAddress(v6: packet.source), port: packet.sourcePort),
            to: TransportAddress(IPAddress(v6: packet.destination), port: packet.destinationPort))
    }

    /// The flow of a packet of this host's; nil for what begins none.
    private func outwardKey(_ packet: IPv6Packet) -> PacketFlowKey? {
        switch packet.transport {
        case .tcp, .udp:
            PacketFlowKey(
                peer: packet.destination, transport: packet.transport, localPort: packet.sourcePort,
                remotePort: packet.destinationPort)
        case .icmp:
            packet.icmpType == ICMPv6.echoRequest
                ? echo(packet.icmpIdentifier, with: packet.destination) : nil
        }
    }

    private func echo(_ identifier: UInt16, with peer: UInt128) -> PacketFlowKey {
        PacketFlowKey(peer: peer, transport: .icmp, localPort: identifier, remotePort: 0)
    }

    // MARK: Inwards

    /// A packet of another node's: why it goes no further, or nil.
    /// - Parameters:
    ///   - bytes: the whole packet.
    ///   - peer: who has proven to be its sender.
    mutating func receive(_ packet: IPv6Packet, _ bytes: RawSpan, from peer: UInt128, now: Instant) -> PacketDrop? {
        guard packet.source == peer else { return .source }
        guard packet.destination == own else { return .destination }
        guard packet.transport != .icmp else { return receiveMessage(packet, bytes, now: now) }
        let key = PacketFlowKey(
            peer: peer, transport: packet.transport, localPort: packet.destinationPort, remotePort: packet.sourcePort)
        let opens = packet.transport == .tcp && packet.tcpFlags.opens
        let rules = served.generation
        // A connection that another node begins needs a rule, whatever this host has sent from that port.
        let goesOn = flows.touch(key, flags: packet.tcpFlags, outwards: false, now: now) { origin in
            switch origin {
            case .here: !opens
            case .there(let then): then == rules
            }
        }
        if goesOn { return nil }
        guard isServed(key) else { return .notServed }
        flows.insert(key, .there(rules: rules), now: now)
        return nil
    }

    private func receiveMessage(_ packet: IPv6Packet, _ bytes: RawSpan, now: Instant) -> PacketDrop? {
        switch packet.icmpType {
        case ICMPv6.echoRequest:
            served.permitsPackets(from: names(of: packet.source)) ? nil : .notServed
        case ICMPv6.echoReply:
            flows.has(echo(packet.icmpIdentifier, with: packet.source), now: now) ? nil : .notServed
        case ICMPv6.errors: receiveError(packet, bytes, now: now)
        default: .transport
        }
    }

    /// An error concerns a flow that there is.
    private func receiveError(_ packet: IPv6Packet, _ bytes: RawSpan, now: Instant) -> PacketDrop? {
        let start = packet.transportOffset + ICMPv6.errorHeaderSize
        guard start <= bytes.byteCount,
            let about = try? IPv6Packet(bytes.extracting(start..<bytes.byteCount), isExcerpt: true)
        else { return .malformed }
        guard about.source == own, about.destination == packet.source else { return .source }
        guard let key = outwardKey(about), flows.has(key, now: now) else { return .notServed }
        return nil
    }

    // MARK: Rules

    private func isServed(_ key: PacketFlowKey) -> Bool {
        switch key.transport {
        case .tcp: served.permitsPackets(.stream, to: key.localPort, from: names(of: key.peer))
        case .udp: served.permitsPackets(.datagram, to: key.localPort, from: names(of: key.peer))
        case .icmp: false
        }
    }

    private func names(of peer: UInt128) -> [String] { router.names(of: TransportID(IPAddress(v6: peer))) }
}
