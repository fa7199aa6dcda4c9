// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// How many connections may be under way to being admitted, in all and from one source: what an unknown peer can make the
/// relay hold.
struct HandshakeGate {
    var limit: Int
    var limitPerSource: Int
    private(set) var count = 0
    private var sources: [UInt128: Int] = [:]

    enum Verdict: Equatable {
        case admitted
        case refused
        /// There is room, but not for this source.
        case refusedForSource

        /// The name of the bound that is reached.
        var bound: String? {
            switch self {
            case .admitted: nil
            case .refused: "limits.handshakes"
            case .refusedForSource: "limits.handshakes-per-source"
            }
        }
    }

    init(limit: Int, limitPerSource: Int) {
        self.limit = limit
        self.limitPerSource = limitPerSource
    }

    mutating func enter(_ address: IPAddress) -> Verdict {
        guard count < limit else { return .refused }
        let source = Self.source(of: address)
        let present = sources[source, default: 0]
        guard present < limitPerSource else { return .refusedForSource }
        sources[source] = present + 1
        count += 1
        return .admitted
    }

    mutating func leave(_ address: IPAddress) {
        let source = Self.source(of: address)
        guard let present = sources[source] else { return }
        sources[source] = present > 1 ? present - 1 : nil
        count -= 1
    }

    /// How many of an address's source are under way.
    func present(_ address: IPAddress) -> Int { sources[Self.source(of: address), default: 0] }

    static func isSameSource(_ a: IPAddress, _ b: IPAddress) -> Bool { source(of: a) == source(of: b) }

    /// An IPv4 address, or the /64 of an IPv6 one: what one customer has.
    private static func source(of address: IPAddress) -> UInt128 {
        let address = address.canonical
        switch address.family {
        case .v4: return 0xFFFF << 32 | address.value
        case .v6: return (address.value >> 64) << 64
        }
    }
}
