// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// One flow of packets between this node and another: a connection, or datagrams between two ports.
struct PacketFlowKey: Equatable {
    var peer: UInt128
    var transport: PacketProtocol
    var localPort: UInt16
    var remotePort: UInt16

    /// Its ports and protocol in one word.
    fileprivate var word: UInt64 {
        UInt64(transport.rawValue) << 32 | UInt64(localPort) << 16 | UInt64(remotePort)
    }
}

/// Who began a flow, and by what right it goes on.
enum PacketFlowOrigin: Equatable {
    /// A program of this host.
    case here
    /// The other node, by the rules of that number.
    case there(rules: UInt32)
}

/// The flows that packets may come in for, bounded and aged. Sets of eight places each: what is looked for is in one of
/// eight, and what is new takes the place of what has expired or would expire first.
///
/// A flow of another node's never takes the place of one of this host's that lives: a node that may reach one port here
/// could push out this host's own connections.
struct PacketFlows: ~Copyable {
    private struct Entry {
        var peer: UInt128 = 0
        var word: UInt64 = 0
        /// Nanoseconds of the clock; 0 for a place that is free.
        var deadline: UInt64 = 0
        var origin = PacketFlowOrigin.here
        /// Packets went both ways.
        var isMutual = false
        var isEnding = false
    }

    /// How long a flow lives without a packet.
    struct Lifetimes {
        /// Datagrams and echoes.
        var datagrams: Duration = .seconds(60)
        /// TCP before the other side has answered, and after one has ended its half (RFC 5382, REQ-5: 4 minutes at least).
        var transitory: Duration = .seconds(240)
        /// TCP (RFC 5382, REQ-5: 2 hours and 4 minutes at least).
        var established: Duration = .seconds(7_440)
    }

    var lifetimes: Lifetimes
    private var entries: [Entry]
    private let setMask: Int
    private let seed: UInt64
    private static let ways = 8

    /// - Parameters:
    ///   - most: flows at once, at the least: rounded up to a power of two.
    ///   - seed: so that nobody can choose ports that all fall into one set.
    init(most: Int, lifetimes: Lifetimes = Lifetimes(), seed: UInt64) {
        var sets = 1
        while sets * PacketFlows.ways < min(most, 1 << 20) { sets *= 2 }
        setMask = sets - 1
        entries = Array(repeating: Entry(), count: sets * PacketFlows.ways)
        self.lifetimes = lifetimes
        self.seed = seed
    }

    /// Whether there is a flow that may go on.
    func has(_ key: PacketFlowKey, now: Instant, where allows: (PacketFlowOrigin) -> Bool = { _ in true }) -> Bool {
        find(key, now: now).map { allows(entries[$0].origin) } ?? false
    }

    /// A packet of a flow: where there is one that may go on, it lives on.
    /// - Parameter outwards: whether the packet comes from this host.
    /// - Returns: false where there is no such flow.
    mutating func touch(
        _ key: PacketFlowKey, flags: TCPFlags, outwards: Bool, now: Instant,
        where allows: (PacketFlowOrigin) -> Bool = { _ in true }
    ) -> Bool {
        guard let index = find(key, now: now), allows(entries[index].origin) else { return false }
        if outwards != (entries[index].origin == .here) { entries[index].isMutual = true }
        if flags.opens { entries[index].isEnding = false } else if flags.ends { entries[index].isEnding = true }
        entries[index].deadline = deadline(of: entries[index], now: now)
        return true
    }

    /// Adds a flow, or gives one that is there another origin.
    /// - Returns: whether there was a place for it.
    @discardableResult
    mutating func insert(_ key: PacketFlowKey, _ origin: PacketFlowOrigin, now: Instant) -> Bool {
        guard let index = find(key, now: now) ?? place(for: key, origin, now: now) else { return false }
        var entry = Entry(peer: key.peer, word: key.word, origin: origin)
        entry.deadline = deadline(of: entry, now: now)
        entries[index] = entry
        return true
    }

    /// Flows that have not expired.
    func count(now: Instant) -> Int { entries.count { $0.deadline > now.nanoseconds } }

    private func deadline(of entry: Entry, now: Instant) -> UInt64 {
        let isTCP = UInt8(truncatingIfNeeded: entry.word >> 32) == PacketProtocol.tcp.rawValue
        let life =
            !isTCP
            ? lifetimes.datagrams
            : entry.isMutual && !entry.isEnding ? lifetimes.established : lifetimes.transitory
        return (now + life).nanoseconds
    }

    private func firstPlace(_ key: PacketFlowKey) -> Int {
        // The finaliser of MurmurHash3 over what differs between flows, begun with the seed.
        var hash = UInt64(truncatingIfNeeded: key.peer) ^ UInt64(truncatingIfNeeded: key.peer >> 64)
        hash = (hash ^ seed) &+ key.word &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ (hash >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        hash = (hash ^ (hash >> 33)) &* 0xC4CE_B9FE_1A85_EC53
        return (Int(truncatingIfNeeded: hash ^ (hash >> 33)) & setMask) * PacketFlows.ways
    }

    private func find(_ key: PacketFlowKey, now: Instant) -> Int? {
        let first = firstPlace(key)
        for index in first..<first + PacketFlows.ways
        where entries[index].word == key.word && entries[index].peer == key.peer {
            return entries[index].deadline > now.nanoseconds ? index : nil
        }
        return nil
    }

    /// A place that is free, or the one that would be soonest.
    private func place(for key: PacketFlowKey, _ origin: PacketFlowOrigin, now: Instant) -> Int? {
        let first = firstPlace(key)
        // The same flow's own place, where it has expired.
        for index in first..<first + PacketFlows.ways
        where entries[index].word == key.word && entries[index].peer == key.peer { return index }
        var best: Int?
        for index in first..<first + PacketFlows.ways {
            let isKept = origin != .here && entries[index].origin == .here && entries[index].deadline > now.nanoseconds
            guard !isKept else { continue }
            if let found = best, entries[found].deadline <= entries[index].deadline { continue }
            best = index
        }
        return best
    }
}
