// SPDX-License-Identifier: Apache-2.0

/// Why an adapter lets a packet go no further.
public enum PacketDrop: String, CaseIterable, Sendable {
    /// Not IPv6: most often a broadcast or a question of this host's own.
    case notIPv6 = "not-ipv6"
    /// It is not what its headers say, or asks the kernel for something that does not fit it.
    case malformed
    case fragment
    /// Neither TCP, UDP, nor an ICMPv6 message that is needed.
    case transport = "protocol"
    /// The source is not the sender's own transport ID.
    case source = "forged-source"
    /// The destination is no transport ID, or not this node's.
    case destination
    /// Nothing that is served to that node, and no answer to anything of this host.
    case notServed = "not-served"
    /// A program whose user may not use what carries the packets.
    case notPermitted = "not-permitted"
    /// The other node can't be reached, or has no adapter.
    case unreachable
    /// More waits than may, while the way to the other node is made or is full.
    case full
}

/// What an adapter has carried. Owned by the loop.
public struct AdapterCounters: Sendable {
    /// Packets of this host, and those of other nodes; large ones that stand for many count once.
    public var packetsSent: UInt64 = 0
    public var packetsReceived: UInt64 = 0
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    private var drops = [UInt64](repeating: 0, count: PacketDrop.allCases.count)

    public init() {}

    mutating func count(_ drop: PacketDrop) { drops[drop.index] &+= 1 }

    /// Packets that went no further for this reason.
    public func dropped(_ reason: PacketDrop) -> UInt64 { drops[reason.index] }
    /// Those of every reason.
    public var dropped: UInt64 { drops.reduce(0, &+) }
}

extension PacketDrop {
    fileprivate var index: Int {
        switch self {
        case .notIPv6: 0
        case .malformed: 1
        case .fragment: 2
        case .transport: 3
        case .source: 4
        case .destination: 5
        case .notServed: 6
        case .notPermitted: 7
        case .unreachable: 8
        case .full: 9
        }
    }

    init(_ fault: IPv6Packet.Fault) {
        switch fault {
        case .notIPv6: self = .notIPv6
        case .malformed: self = .malformed
        case .fragment: self = .fragment
        case .transport: self = .transport
        }
    }
}
