// SPDX-License-Identifier: Apache-2.0

internal import Primitives
internal import Providers

/// The connections that are on their way to being admitted, the oldest first, and who of them gives way to a newcomer
/// where a bound is reached: otherwise those who open connections and leave them would keep nodes out.
struct ArrivalQueue {
    /// A node's first bytes come with its connection; one that has said nothing for so long is in nobody's way to lose.
    var silence = Duration.milliseconds(100)
    /// A node is done within a round trip; one that takes so long has to give way where there is nobody silent. Where next
    /// to none get on it is no crowd of nodes but a siege, and patience is short.
    var patience = Duration.milliseconds(250)
    var patienceInSiege = Duration.milliseconds(100)
    /// Of so many that wait one has to be admitted in the time of one ``patience``, or it is a siege.
    private static let siege = 16
    /// Among so many of the oldest the one is chosen whose source has the most: to look at all of them would cost more
    /// than to serve them.
    private static let lineup = 64

    private var waiting: [UInt64: Arrival] = [:]
    /// Their numbers in the order in which they came; some of them are gone already.
    private var order: [UInt64] = []
    private var next: UInt64 = 0
    /// When this turn of the loop began in which connections are accepted, and when the one before it.
    private var turn = Instant(nanoseconds: 0)
    private var lastTurn = Instant(nanoseconds: 0)
    /// Admissions since `countedSince`, and in the time of one patience before that.
    private var admitted = 0
    private var admittedBefore = 0
    private var countedSince = Instant(nanoseconds: 0)

    var count: Int { waiting.count }

    mutating func append(_ arrival: Arrival) {
        arrival.number = next
        waiting[next] = arrival
        order.append(next)
        next += 1
        if order.count > 2 * waiting.count + ArrivalQueue.lineup { order.removeAll { waiting[$0] == nil } }
    }

    /// One of them was admitted.
    mutating func noteAdmission() { admitted += 1 }

    /// Whether those that wait are there to be in the way.
    var isBesieged: Bool {
        guard (admitted + admittedBefore) * ArrivalQueue.siege < waiting.count else { return false }
        guard let oldest = order.lazy.compactMap({ waiting[$0] }).first else { return false }
        return lastTurn >= oldest.since + patienceInSiege
    }

    /// Whether it was there.
    mutating func remove(_ arrival: Arrival) -> Bool { waiting.removeValue(forKey: arrival.number) != nil }

    /// Call it before what comes in this turn. How long somebody was silent is known as of the turn before: what came
    /// since then may not have been read yet, and a relay that is busy must not blame its nodes for that.
    mutating func turnBegan(_ now: Instant) {
        guard now > turn else { return }
        lastTurn = turn
        turn = now
        guard now >= countedSince + patience else { return }
        admittedBefore = now < countedSince + patience * 2 ? admitted : 0
        admitted = 0
        countedSince = now
    }

    /// Who gives way: of those of one source, or of all.
    /// - Parameter present: how many there are of an arrival's source.
    func dawdler(of source: IPAddress?, present: (IPAddress) -> Int) -> Arrival? {
        let patience = isBesieged ? patienceInSiege : patience
        var found: (arrival: Arrival, present: Int)?
        var seen = 0
        for number in order {
            guard let arrival = waiting[number] else { continue }
            // Who came later is younger still.
            guard lastTurn >= arrival.since + silence else { break }
            if let source, !HandshakeGate.isSameSource(source, arrival.source.ip) { continue }
            if !arrival.carrier.hasHeardPeer { return arrival }
            seen += 1
            guard seen <= ArrivalQueue.lineup, lastTurn >= arrival.since + patience else { continue }
            let present = present(arrival.source.ip)
            if present > found?.present ?? 0 { found = (arrival, present) }
        }
        return found?.arrival
    }
}
