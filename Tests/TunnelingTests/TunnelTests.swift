// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

@Suite struct TunnelTests {
    @Test func introductionOpensBothEnds() throws {
        let pair = try TunnelPair()
        #expect(pair.dialer.tunnel.state == .open)
        #expect(pair.acceptor.tunnel.state == .open)
        #expect(pair.dialer.welcomes.first?.nodeName == "home")
        #expect(pair.dialer.tunnel.roundTripTime == .zero)
    }

    @Test func bytesArriveOnceInOrderAndBothEndsFinish() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.total = 3_000_000
        pair.acceptor.behaviour.total = 2_000_000
        let near = try #require(pair.dialer.open(now: pair.now))
        try pair.settle()
        let far = try #require(pair.acceptor.applications[1])
        #expect(near.wasOpened)
        while !(near.finished && far.finished) {
            near.pump(atMost: 70_000)
            far.pump(atMost: 1_000)
            if far.sent < 100_000 { far.pump(atMost: 65_536) } else { far.pump(atMost: 1 << 20) }
            try pair.settle()
        }
        #expect(far.received == 3_000_000 && far.mismatchAt == nil)
        #expect(near.received == 2_000_000 && near.mismatchAt == nil)
        #expect(pair.dialer.tunnel.streamCount == 0 && pair.acceptor.tunnel.streamCount == 0)
        #expect(pair.dialer.tunnel.heldBytes == 0 && pair.acceptor.tunnel.heldBytes == 0)
        #expect(pair.dialer.pool.leased == 0 && pair.acceptor.pool.leased == 0)
    }

    @Test func halfCloseLetsTheOtherHalfGoOn() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.total = 5
        pair.acceptor.behaviour.total = 1 << 20
        let near = try #require(pair.dialer.open(now: pair.now))
        near.pump(atMost: 5)
        try pair.settle()
        let far = try #require(pair.acceptor.applications[1])
        #expect(far.receivedEnd && far.received == 5)
        while !far.finished {
            far.pump(atMost: 65_536)
            try pair.settle()
        }
        #expect(near.received == 1 << 20 && near.mismatchAt == nil && near.finished)
    }

    @Test func aStalledReaderHoldsOnlyItsOwnStream() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.total = 8 << 20
        pair.acceptor.behaviour = .init(total: 0, consumesAtOnce: false)
        let stalled = try #require(pair.dialer.open(now: pair.now))
        for _ in 0..<100 {
            stalled.pump(atMost: 65_536)
            try pair.settle()
        }
        let window = UInt64(pair.acceptor.tunnel.limits.firstWindow)
        #expect(stalled.sent >= window && stalled.sent <= window + 65_536)
        #expect(stalled.stream?.sendRoom == 0)
        pair.acceptor.behaviour.consumesAtOnce = true
        let other = try #require(pair.dialer.open(now: pair.now))
        for _ in 0..<1_000 {
            other.pump(atMost: 65_536)
            try pair.settle()
        }
        let taken = try #require(pair.acceptor.applications[3])
        #expect(taken.received == 8 << 20 && taken.mismatchAt == nil)
        let waiting = try #require(pair.acceptor.applications[1])
        waiting.behaviour.consumesAtOnce = true
        waiting.consume()
        for _ in 0..<1_000 {
            stalled.pump(atMost: 65_536)
            try pair.settle()
        }
        #expect(waiting.received == 8 << 20 && waiting.mismatchAt == nil)
    }

    @Test func manyStalledReadersDoNotHoldTheOthersUp() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.total = 4 << 20
        pair.acceptor.behaviour = .init(total: 0, consumesAtOnce: false)
        let stalled = (0..<50).compactMap { _ in pair.dialer.open(now: pair.now) }
        for _ in 0..<100 {
            for application in stalled { application.pumpPastRoom() }
            try pair.settle()
        }
        #expect(stalled.allSatisfy { $0.stream?.sendRoom == 0 })
        pair.acceptor.behaviour.consumesAtOnce = true
        let free = try #require(pair.dialer.open(now: pair.now))
        for _ in 0..<1_000 where !free.endedSending {
            free.pump(atMost: 65_536)
            try pair.settle()
        }
        #expect(pair.acceptor.applications[101]?.received == 4 << 20)
    }

    @Test func numbersAreNotUsedTwice() throws {
        let pair = try TunnelPair()
        pair.dialer.tunnel.nextStreamID = .max - 6
        #expect(pair.dialer.open(now: pair.now) != nil && !pair.dialer.tunnel.isUsedUp)
        #expect(pair.dialer.open(now: pair.now) != nil && pair.dialer.tunnel.isUsedUp)
        #expect(pair.dialer.open(now: pair.now) == nil)
    }

    @Test(arguments: [StreamResetCode.refused, .timedOut, .reset])
    func resetEndsBothDirectionsAtOnce(code: StreamResetCode) throws {
        let pair = try TunnelPair()
        let near = try #require(pair.dialer.open(now: pair.now))
        near.pump(atMost: 4_000)
        try pair.settle()
        let far = try #require(pair.acceptor.applications[1])
        far.stream?.reset(code)
        near.pump(atMost: 4_000)
        try pair.settle()
        #expect(near.reset == code && far.reset == nil)
        #expect(pair.dialer.tunnel.streamCount == 0 && pair.acceptor.tunnel.streamCount == 0)
        #expect(pair.dialer.tunnel.heldBytes == 0)
    }

    @Test func datagramsKeepTheirBoundsAndTheOldestIsDropped() throws {
        var limits = TunnelLimits()
        limits.datagramQueue = 10_000
        let pair = try TunnelPair(limits: limits)
        let near = try #require(pair.dialer.open(.datagram, now: pair.now))
        try pair.settle()
        let stream = try #require(near.stream)
        for index in 0..<20 {
            stream.send(pair.dialer.pool.lease(copying: [UInt8](repeating: UInt8(index), count: 992).rawSpan))
        }
        stream.send(pair.dialer.pool.lease(copying: [UInt8]().rawSpan))
        try pair.settle()
        let far = try #require(pair.acceptor.applications[1])
        #expect(far.datagrams.map(\.count) == Array(repeating: 992, count: 9) + [0])
        #expect(far.datagrams.first?.first == 11)
        #expect(pair.dialer.tunnel.droppedDatagrams == 11)
    }

    @Test func aFastSenderGetsAWiderWindow() throws {
        // 100 ms there and back, and a sender that is never idle.
        let pair = try TunnelPair(introduced: false)
        pair.dialer.tunnel.introduce(Hello(nodeName: "home", limits: TunnelLimits()), now: pair.now)
        for _ in 0..<4 {
            let up = pair.dialer.output(now: pair.now)
            pair.now = pair.now + .milliseconds(50)
            try pair.acceptor.input(up, now: pair.now)
            let down = pair.acceptor.output(now: pair.now)
            pair.now = pair.now + .milliseconds(50)
            try pair.dialer.input(down, now: pair.now)
        }
        pair.dialer.behaviour.total = 400 << 20
        pair.acceptor.behaviour.total = 0
        let near = try #require(pair.dialer.open(now: pair.now))
        var inFlight = 0
        for _ in 0..<12 {
            let before = near.sent
            var pumped = true
            while pumped {
                let sent = near.sent
                near.pump(atMost: 65_536)
                let bytes = pair.dialer.output(now: pair.now)
                pumped = near.sent > sent
                pair.now = pair.now + .microseconds(10)
                try pair.acceptor.input(bytes, now: pair.now)
            }
            inFlight = Int(near.sent - before)
            let back = pair.acceptor.output(now: pair.now + .milliseconds(50))
            pair.now = pair.now + .milliseconds(100)
            try pair.dialer.input(back, now: pair.now)
        }
        #expect(inFlight >= 15 << 20)
    }

    @Test func silenceIsNoticedAfterThreeIntervals() throws {
        let pair = try TunnelPair()
        let tunnel = pair.dialer.tunnel
        var verdicts: [Bool] = []
        for _ in 0..<3 {
            pair.now = tunnel.nextDeadline
            verdicts.append(tunnel.handleTimeout(now: pair.now))
            _ = pair.dialer.output(now: pair.now)
        }
        #expect(verdicts == [true, true, false])
    }

    @Test func aStoppedProcessAsksBeforeItGivesUp() throws {
        let pair = try TunnelPair()
        try pair.advance(.seconds(600))
        #expect(pair.dialer.tunnel.state == .open)
        try pair.advance(.seconds(600))
        #expect(pair.dialer.tunnel.handleTimeout(now: pair.now))
    }

    @Test func everyStreamIsToldWhenTheTunnelEnds() throws {
        let pair = try TunnelPair()
        let applications = (0..<50).compactMap { _ in pair.dialer.open(now: pair.now) }
        for application in applications { application.pump(atMost: 1_000) }
        pair.dialer.tunnel.end(.sessionEnded)
        #expect(applications.allSatisfy { $0.reset == .sessionEnded })
        #expect(pair.dialer.tunnel.streamCount == 0 && pair.dialer.tunnel.heldBytes == 0)
        #expect(pair.dialer.open(now: pair.now) == nil)
    }

    @Test func exposingIsCarriedBothWays() throws {
        let pair = try TunnelPair()
        pair.dialer.tunnel.expose(ExposeRequest(id: 7, transport: .udp, port: 53))
        try pair.settle()
        #expect(pair.acceptor.exposes == [ExposeRequest(id: 7, transport: .udp, port: 53)])
        pair.acceptor.tunnel.answer(ExposeAnswer(id: 7, port: 0, refusal: "busy"))
        pair.dialer.tunnel.unexpose(7)
        try pair.settle()
        #expect(pair.dialer.answers == [ExposeAnswer(id: 7, port: 0, refusal: "busy")])
        #expect(pair.acceptor.unexposed == [7])
    }

    @Test func theTunnelsOwnBoundHoldsStreamsBackAndLetsThemGoOn() throws {
        var limits = TunnelLimits()
        limits.queuedBytes = 256 << 10
        let pair = try TunnelPair(limits: limits)
        pair.dialer.behaviour.total = 1 << 20
        pair.acceptor.behaviour = .init(total: 0, consumesAtOnce: true)
        let all = (0..<32).compactMap { _ in pair.dialer.open(now: pair.now) }
        #expect(all.count == 32)
        for _ in 0..<100_000 where !all.allSatisfy(\.endedSending) {
            for application in all { application.pump(atMost: 8_192) }
            #expect(pair.dialer.tunnel.heldBytes <= limits.queuedBytes + 8_192)
            try pair.advance(.milliseconds(100))
        }
        #expect(pair.acceptor.applications.values.allSatisfy { $0.received == 1 << 20 && $0.mismatchAt == nil })
    }
}

/// What one stream moves over a long path, where nothing but the window holds it back.
@Suite struct LongPathTests {
    /// More streams than the tunnel's bound has room for, each of which takes all that it can get: all get their turn.
    @Test func greedyStreamsShareTheTunnel() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.isGreedy = true
        let greedy = (0..<12).compactMap { _ -> TestApplication? in
            let application = pair.dialer.open(now: pair.now)
            while application?.stream?.sendRoom ?? 0 > 0 { application?.pumpPastRoom() }
            return application
        }
        for _ in 0..<60 {
            var output = OutputBuffer(from: pair.dialer.pool)
            _ = pair.dialer.tunnel.fill(&output, through: pair.dialer, now: pair.now)
            try pair.acceptor.input(output.bytes.withUnsafeBytes { Array($0) }, now: pair.now)
            try pair.dialer.input(pair.acceptor.output(now: pair.now), now: pair.now)
        }
        let received = greedy.map { pair.acceptor.applications[$0.stream?.id ?? 0]?.received ?? 0 }
        let (least, most) = (received.min() ?? 0, received.max() ?? 0)
        #expect(least > 0 && most <= 3 * least, "\(received)")
    }

    /// Opened or accepted while others fill the tunnel's bound: there is no room, and word comes when there is.
    @Test(arguments: [Tunnel.Role.dialing, .accepting]) func aStreamThatBeginsWithoutRoomIsTold(role: Tunnel.Role)
        throws
    {
        let pair = try TunnelPair()
        let end = role == .dialing ? pair.dialer : pair.acceptor
        let busy = (0..<8).compactMap { _ in end.open(now: pair.now) }
        try pair.settle()
        for application in busy {
            while application.stream?.sendRoom ?? 0 > 0 { application.pumpPastRoom() }
        }
        let late = try #require(pair.dialer.open(now: pair.now)?.stream)
        if role == .accepting { try pair.acceptor.input(pair.dialer.output(now: pair.now), now: pair.now) }
        let application = try #require(end.applications[late.id])
        #expect(application.stream?.sendRoom == 0)
        try pair.settle()
        #expect(application.stream?.sendRoom ?? 0 > 0)
        #expect(application.toldOfRoom > 0)
    }

    @Test func oneStreamFillsAHundredMillisecondPath() throws {
        let half: Duration = .milliseconds(50)
        let step: Duration = .milliseconds(1)
        let pair = try TunnelPair(introduced: false)
        pair.dialer.tunnel.introduce(Hello(nodeName: "home", limits: TunnelLimits()), now: pair.now)
        var up: [(at: Instant, bytes: [UInt8])] = []
        var down: [(at: Instant, bytes: [UInt8])] = []
        var stream: TunnelStream?
        let sink = CountingApplication()
        let source = CountingApplication()
        pair.acceptor.counting = sink
        let chunk = pair.dialer.pool.lease()
        var measuredFrom: (at: Instant, bytes: UInt64)?
        let start = pair.now
        while pair.now - start < .seconds(3) {
            pair.now = pair.now + step
            _ = pair.dialer.tunnel.handleTimeout(now: pair.now)
            _ = pair.acceptor.tunnel.handleTimeout(now: pair.now)
            if stream == nil, pair.dialer.tunnel.state == .open {
                let request = OpenRequest(kind: .stream, destination: .none, source: .none)
                stream = pair.dialer.tunnel.open(request, delegate: source, now: pair.now)
            }
            while let stream, stream.sendRoom > 0 {
                stream.send(chunk.share(0..<65_536))
                up.append((pair.now + half, pair.dialer.output(now: pair.now)))
            }
            up.append((pair.now + half, pair.dialer.output(now: pair.now)))
            while let next = up.first, next.at <= pair.now {
                try pair.acceptor.input(up.removeFirst().bytes, now: pair.now)
            }
            down.append((pair.now + half, pair.acceptor.output(now: pair.now)))
            while let next = down.first, next.at <= pair.now {
                try pair.dialer.input(down.removeFirst().bytes, now: pair.now)
            }
            if measuredFrom == nil, pair.now - start > .seconds(2) { measuredFrom = (pair.now, sink.received) }
        }
        let from = try #require(measuredFrom)
        let gigabits = Double(sink.received - from.bytes) * 8 / (pair.now - from.at).inSeconds / 1e9
        #expect(gigabits >= 1.3, "\(gigabits) Gbit/s")
    }
}

/// Takes bytes at once, and counts them.
final class CountingApplication: TunnelStreamDelegate {
    var received: UInt64 = 0

    func streamOpened(_ stream: TunnelStream) {}
    func stream(_ stream: TunnelStream, received bytes: consuming Slice) {
        received += UInt64(bytes.count)
        stream.consumed(bytes.count)
    }
    func streamReceivedEnd(_ stream: TunnelStream) {}
    func streamHasSendRoom(_ stream: TunnelStream) {}
    func stream(_ stream: TunnelStream, wasReset code: StreamResetCode) {}
    func streamFinished(_ stream: TunnelStream) {}
}
