// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// A peer that breaks the rules costs its own tunnel or stream, and never the process.
@Suite struct HostileTunnelTests {
    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = [], length: Int? = nil)
        -> [UInt8]
    {
        var writer = ByteWriter()
        writer.write(type)
        writer.write(flags)
        writer.write(UInt16(truncatingIfNeeded: length ?? payload.count))
        writer.write(stream)
        writer.write(payload)
        return writer.bytes
    }

    /// Frames that an accepting end refuses with a protocol violation.
    static let violations: [(name: String, bytes: [UInt8])] = [
        ("unknown type", frame(99)),
        ("type zero", frame(0)),
        ("a second HELLO", frame(1, [0, 1])),
        ("WELCOME to the accepting side", frame(2, [0, 1])),
        ("DATA on a stream never opened", frame(8, stream: 1, [1])),
        ("DATA on stream 0", frame(8, stream: 0, [1])),
        ("DATA on this side's stream that was never opened", frame(8, stream: 2, [1])),
        (
            "OPEN of an even stream by the dialing side",
            frame(6, stream: 2, [1, 0, 0] + [UInt8](repeating: 0, count: 8))
        ),
        ("OPEN of stream 0", frame(6, stream: 0, [1, 0, 0] + [UInt8](repeating: 0, count: 8))),
        ("OPEN of unknown kind", frame(6, stream: 1, [9, 0, 0] + [UInt8](repeating: 0, count: 8))),
        ("OPEN too short", frame(6, stream: 1, [1, 0, 0])),
        ("CREDIT on the maximal stream", frame(9, stream: .max, [UInt8](repeating: 0, count: 16))),
        ("PING of the wrong length", frame(3, [1, 2, 3])),
        ("EXPOSE of an unknown protocol", frame(12, [0, 0, 0, 1, 9, 0, 80])),
        ("a control frame over its bound", frame(5, [], length: 65_535)),
    ]

    @Test(arguments: violations)
    func violationEndsTheTunnel(name: String, bytes: [UInt8]) throws {
        let pair = try TunnelPair()
        #expect(throws: TunnelError.self, "\(name)") { try pair.acceptor.input(bytes, now: pair.now) }
    }

    @Test func unknownTypeThatMayBeSkippedIsSkipped() throws {
        let pair = try TunnelPair()
        try pair.acceptor.input(Self.frame(99, flags: 0x80, [1, 2, 3]), now: pair.now)
        #expect(pair.dialer.open(now: pair.now) != nil)
        try pair.settle()
        #expect(pair.acceptor.applications.count == 1)
    }

    @Test func reusedStreamNumberEndsTheTunnel() throws {
        let pair = try TunnelPair()
        let near = try #require(pair.dialer.open(now: pair.now))
        try pair.settle()
        near.stream?.reset(.noError)
        try pair.settle()
        let again = Self.frame(6, stream: 1, [1, 0, 0] + [UInt8](repeating: 0, count: 8))
        #expect(throws: TunnelError.self) { try pair.acceptor.input(again, now: pair.now) }
    }

    @Test func dataPastTheWindowEndsTheStreamOnly() throws {
        let pair = try TunnelPair()
        pair.acceptor.behaviour.consumesAtOnce = false
        _ = pair.dialer.open(now: pair.now)
        _ = pair.dialer.open(now: pair.now)
        try pair.settle()
        let chunk = Self.frame(8, stream: 1, [UInt8](repeating: 0, count: 65_535))
        for _ in 0..<5 { try pair.acceptor.input(chunk, now: pair.now) }
        #expect(pair.acceptor.applications[1]?.reset == .flowControl)
        #expect(pair.acceptor.applications[3]?.reset == nil)
        #expect(pair.acceptor.tunnel.streamCount == 1)
    }

    @Test func dataAfterTheEndEndsTheStreamOnly() throws {
        let pair = try TunnelPair()
        _ = pair.dialer.open(now: pair.now)
        try pair.settle()
        let last = Self.frame(8, flags: 1, stream: 1)
        try pair.acceptor.input(last, now: pair.now)
        #expect(pair.acceptor.applications[1]?.receivedEnd == true)
        try pair.acceptor.input(last, now: pair.now)
        #expect(pair.acceptor.applications[1]?.reset == .protocolViolation)
    }

    @Test(arguments: [UInt64.max, 1 << 63, 5_000])
    func creditForBytesNeverSentEndsTheTunnel(received: UInt64) throws {
        let pair = try TunnelPair()
        _ = pair.dialer.open(now: pair.now)
        try pair.settle()
        var credit = ByteWriter()
        credit.write(UInt64.max)
        credit.write(received)
        #expect(throws: TunnelError.self) {
            try pair.dialer.input(Self.frame(9, stream: 1, credit.bytes), now: pair.now)
        }
    }

    @Test func anEndlessWindowIsTakenForWhatItIs() throws {
        let pair = try TunnelPair()
        let near = try #require(pair.dialer.open(now: pair.now))
        try pair.settle()
        var credit = ByteWriter()
        credit.write(UInt64.max)
        credit.write(UInt64(0))
        try pair.dialer.input(Self.frame(9, stream: 1, credit.bytes), now: pair.now)
        let room = try #require(near.stream?.sendRoom)
        #expect(room > 0 && room <= Chosen.unsentBytes)
    }

    @Test func openPastTheBoundIsResetAndNothingElse() throws {
        var limits = TunnelLimits()
        limits.streams = 10
        let pair = try TunnelPair(limits: limits)
        for id in stride(from: UInt32(1), through: 41, by: 2) {
            try pair.acceptor.input(
                Self.frame(6, stream: id, [1, 0, 0] + [UInt8](repeating: 0, count: 8)), now: pair.now)
        }
        #expect(pair.acceptor.tunnel.streamCount == 10)
    }

    @Test func rapidResetIsHeldToTheRate() throws {
        var limits = TunnelLimits()
        limits.opensPerSecond = 1_000
        let pair = try TunnelPair(limits: limits)
        for id in stride(from: UInt32(1), through: 19_999, by: 2) {
            try pair.acceptor.input(
                Self.frame(6, stream: id, [1, 0, 0] + [UInt8](repeating: 0, count: 8))
                    + Self.frame(10, stream: id, [0, 0, 0, 0]), now: pair.now)
            _ = pair.acceptor.output(now: pair.now)
        }
        #expect(pair.acceptor.applications.count == 1_000)
        #expect(pair.acceptor.tunnel.streamCount == 0)
    }

    @Test func aPeerThatPingsAndNeverReadsBreaksTheProtocol() throws {
        let pair = try TunnelPair()
        let pings = (0..<1_000).flatMap { _ in Self.frame(3, [UInt8](repeating: 7, count: 8)) }
        #expect(throws: TunnelError.self) {
            for _ in 0..<1_000 { try pair.acceptor.input(pings, now: pair.now) }
        }
        #expect(pair.acceptor.tunnel.control.count <= pair.acceptor.tunnel.limits.controlQueue + 16)
    }

    @Test func framesBeforeTheIntroductionAreRefused() throws {
        for (name, bytes) in Self.violations {
            let pair = try TunnelPair(introduced: false)
            #expect(throws: TunnelError.self, "\(name)") { try pair.acceptor.input(bytes, now: pair.now) }
        }
    }

    /// Every prefix of a valid conversation, then every flip of one bit in it: an error or a wait, never a trap.
    @Test func truncationAndBitFlipsNeverTrap() throws {
        let conversation = try Self.conversation()
        for length in 0...conversation.count {
            let pair = try TunnelPair(introduced: false)
            try pair.acceptor.input(conversation.prefix(length), now: pair.now)
        }
        for bit in 0..<conversation.count * 8 {
            var flipped = conversation
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            let pair = try TunnelPair(introduced: false)
            try? pair.acceptor.input(flipped, now: pair.now)
            _ = pair.acceptor.output(now: pair.now)
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func rubbishNeverTraps(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let pair = try TunnelPair(introduced: Bool.random(using: &random))
            let rubbish = (0..<Int.random(in: 1...4_000, using: &random)).map { _ in
                UInt8.random(in: 0...(seed % 2 == 0 ? 255 : 14), using: &random)
            }
            try? pair.acceptor.input(rubbish, now: pair.now)
            try? pair.dialer.input(rubbish, now: pair.now)
        }
    }

    /// What a dialing side says in a short life.
    static func conversation() throws -> [UInt8] {
        let pair = try TunnelPair(introduced: false)
        var said: [UInt8] = []
        pair.dialer.tunnel.introduce(
            Hello(nodeName: "home", inviteToken: [9, 9], limits: TunnelLimits()), now: pair.now)
        let hello = pair.dialer.output(now: pair.now)
        said += hello
        try pair.acceptor.input(hello, now: pair.now)
        try pair.dialer.input(pair.acceptor.output(now: pair.now), now: pair.now)
        pair.dialer.tunnel.expose(ExposeRequest(id: 1, transport: .tcp, port: 22))
        pair.dialer.behaviour.total = 40
        pair.dialer.open(now: pair.now)?.pump(atMost: 40)
        let flow = pair.dialer.open(.datagram, now: pair.now)
        flow?.stream?.send(pair.dialer.pool.lease(copying: [1, 2, 3].rawSpan))
        said += pair.dialer.output(now: pair.now)
        flow?.stream?.reset(.noError)
        pair.dialer.tunnel.unexpose(1)
        pair.dialer.tunnel.goAway(GoAway(code: .shutdown, text: "bye"))
        return said + pair.dialer.output(now: pair.now)
    }
}
