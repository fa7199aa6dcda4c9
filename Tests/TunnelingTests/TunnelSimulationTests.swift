// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// Two tunnels over a wire that splits, delays and cuts, from a seed. Whatever happens, each byte of each stream arrives
/// once and in order, or the stream is reset; and nothing is left over.
@Suite struct TunnelSimulationTests {
    @Test(arguments: 0..<100 as Range<UInt64>)
    func everyByteArrivesOnceOrTheStreamIsReset(block: UInt64) throws {
        for seed in block * 20..<block * 20 + 20 { try Simulation(seed: seed).run() }
    }

    /// The wire is cut after each byte of a short conversation in turn.
    @Test func cutAtEveryByte() throws {
        let whole = try Simulation(seed: 1, streams: 3, cutAfter: nil, largest: 300)
        try whole.run()
        for cut in 0...whole.carried { try Simulation(seed: 1, streams: 3, cutAfter: cut, largest: 300).run() }
    }
}

private final class Simulation {
    let seed: UInt64
    var random: SeededRandom
    let pair: TunnelPair
    var wires: (up: [UInt8], down: [UInt8]) = ([], [])
    var carried = 0
    let cutAfter: Int?
    let streams: Int
    var opened = 0
    var isCut = false

    init(seed: UInt64) throws {
        self.seed = seed
        random = SeededRandom(seed: seed)
        var limits = TunnelLimits()
        if seed % 3 == 0 { limits.queuedBytes = 100_000 }
        if seed % 5 == 0 { limits.earlyWindow = 1_000 }
        if seed % 7 == 0 { limits.firstWindow = 5_000 }
        streams = Int.random(in: 1...12, using: &random)
        cutAfter = seed % 4 == 0 ? Int.random(in: 0...40_000, using: &random) : nil
        pair = try TunnelPair(limits: limits)
        let largest: UInt64 = seed % 10 == 0 ? 200_000 : 4_000
        for end in [pair.dialer, pair.acceptor] {
            end.behaviour.total = UInt64.random(in: 0...largest, using: &random)
            end.behaviour.consumesAtOnce = Bool.random(using: &random)
        }
    }

    init(seed: UInt64, streams: Int, cutAfter: Int?, largest: UInt64) throws {
        self.seed = seed
        self.streams = streams
        self.cutAfter = cutAfter
        random = SeededRandom(seed: seed)
        pair = try TunnelPair()
        for end in [pair.dialer, pair.acceptor] { end.behaviour.total = largest }
    }

    func run() throws {
        var rounds = 0
        while !isOver {
            rounds += 1
            try #require(rounds < 200_000, "seed \(seed): it never ends")
            try step()
        }
        check()
    }

    private var isOver: Bool {
        isCut || (opened == streams && pair.dialer.tunnel.streamCount == 0 && pair.acceptor.tunnel.streamCount == 0)
    }

    private func step() throws {
        pair.now = pair.now + .microseconds(Int64.random(in: 0...20_000, using: &random))
        if opened < streams, Int.random(in: 0..<4, using: &random) == 0 {
            opened += 1
            _ = (Bool.random(using: &random) ? pair.dialer : pair.acceptor).open(now: pair.now)
        }
        for end in [pair.dialer, pair.acceptor] {
            for application in end.applications.values.sorted(by: { ($0.stream?.id ?? 0) < ($1.stream?.id ?? 0) }) {
                act(application)
            }
            _ = end.tunnel.handleTimeout(now: pair.now)
        }
        wires.up += pair.dialer.output(now: pair.now)
        wires.down += pair.acceptor.output(now: pair.now)
        try deliver()
    }

    private func act(_ application: TestApplication) {
        switch Int.random(in: 0..<400, using: &random) {
        case 0 where cutAfter == nil || streams > 3:
            guard application.reset == nil, !application.finished else { return }
            application.stream?.reset(.reset)
            application.reset = .reset
        case 1..<150: application.pump(atMost: Int.random(in: 1...70_000, using: &random))
        case 150..<300: application.consume()
        default: break
        }
    }

    /// Some of what is on the wire arrives, in pieces of any size.
    private func deliver() throws {
        let up = take(&wires.up)
        let down = take(&wires.down)
        try pair.acceptor.input(up, now: pair.now)
        try pair.dialer.input(down, now: pair.now)
        guard let cutAfter, carried >= cutAfter else { return }
        isCut = true
        pair.dialer.tunnel.end(.sessionEnded)
        pair.acceptor.tunnel.end(.sessionEnded)
    }

    private func take(_ wire: inout [UInt8]) -> [UInt8] {
        var count = Int.random(in: 0...max(1, wire.count), using: &random)
        if Bool.random(using: &random) { count = min(count, 13) }
        if let cutAfter { count = min(count, max(0, cutAfter - carried)) }
        count = min(count, wire.count)
        defer { wire.removeFirst(count) }
        carried += count
        return Array(wire.prefix(count))
    }

    private func check() {
        for (near, far) in [(pair.dialer, pair.acceptor), (pair.acceptor, pair.dialer)] {
            for (id, application) in near.applications {
                #expect(application.mismatchAt == nil, "seed \(seed), stream \(id)")
                let sent = far.applications[id]?.sent ?? 0
                #expect(application.received <= sent, "seed \(seed), stream \(id)")
                if application.finished { #expect(application.received == sent, "seed \(seed), stream \(id)") }
                #expect(application.finished || application.reset != nil, "seed \(seed), stream \(id)")
            }
            #expect(near.tunnel.heldBytes == 0, "seed \(seed)")
            #expect(near.pool.leased == 0, "seed \(seed)")
        }
    }
}
