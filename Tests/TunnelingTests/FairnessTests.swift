// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// What one application does must not stop the others of the same tunnel.
@Suite struct FairnessTests {
    /// Visitors that ask for much and read nothing: each holds one buffer past its window, all together more
    /// than the tunnel may hold.
    @Test func readersThatStallDoNotStopAnother() throws {
        var limits = TunnelLimits()
        limits.queuedBytes = 4 << 20
        let pair = try TunnelPair(limits: limits)
        pair.dialer.behaviour.total = 1 << 20
        pair.acceptor.behaviour = .init(total: 0, consumesAtOnce: false)
        var stalled: [TestApplication] = []
        for _ in 0..<100 { stalled.append(try #require(pair.dialer.open(now: pair.now))) }
        try pair.settle()
        for application in stalled {
            // A little less than an early window, so that the next whole buffer goes far past it.
            application.pump(atMost: 60_000)
            try pair.settle()
            application.pumpPastRoom()
            try pair.advance(.milliseconds(100))
        }
        #expect(pair.dialer.tunnel.heldBytes >= limits.queuedBytes / 4 * 3)
        pair.acceptor.behaviour.consumesAtOnce = true
        let other = try #require(pair.dialer.open(now: pair.now))
        for _ in 0..<100 {
            other.pump(atMost: 65_536)
            try pair.settle()
        }
        let id = try #require(other.stream?.id)
        #expect(pair.acceptor.applications[id]?.received == 1 << 20)
    }

    /// A bulk transfer and control frames leave less room in each filling than the largest datagram needs.
    @Test func aLargeDatagramPassesABulkTransfer() throws {
        let pair = try TunnelPair()
        pair.dialer.behaviour.total = 100 << 20
        let bulk = try #require(pair.dialer.open(now: pair.now))
        let flow = try #require(pair.dialer.open(.datagram, now: pair.now))
        try pair.settle()
        flow.stream?.send(pair.dialer.pool.lease(copying: [UInt8](repeating: 7, count: 65_507).rawSpan))
        for _ in 0..<20 {
            bulk.pump(atMost: 65_536)
            bulk.pump(atMost: 65_536)
            _ = try pair.carryOneFilling()
        }
        let id = try #require(flow.stream?.id)
        #expect(pair.acceptor.applications[id]?.datagrams.count == 1)
    }

    /// A visitor that comes and goes while the peer reads nothing leaves an OPEN and a RESET behind each time.
    @Test func streamsThatComeAndGoDoNotFillTheControlQueue() throws {
        let pair = try TunnelPair()
        var opened = 0
        while opened < 100_000, let visitor = pair.dialer.open(now: pair.now) {
            visitor.stream?.reset(.reset)
            opened += 1
        }
        #expect(opened < 100_000)
        #expect(pair.dialer.tunnel.control.count <= pair.dialer.tunnel.limits.controlQueue + 256)
        try pair.settle()
        #expect(pair.dialer.open(now: pair.now) != nil)
    }
}

extension TunnelPair {
    /// Carries what one call of `fill` gives, and the answers to it.
    fileprivate func carryOneFilling() throws -> Bool {
        var buffer = OutputBuffer(from: dialer.pool)
        guard dialer.tunnel.fill(&buffer, through: dialer, now: now) else { return false }
        var bytes: [UInt8] = []
        bytes.append(copying: buffer.bytes)
        try acceptor.input(bytes, now: now)
        try dialer.input(acceptor.output(now: now), now: now)
        return true
    }
}
