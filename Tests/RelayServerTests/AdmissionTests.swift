// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import Identity
import Primitives
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

@Suite struct HandshakeGateTests {
    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    /// Whether two addresses are one source: an IPv4 address, or the /64 of an IPv6 one.
    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("::ffff:192.0.2.1", "192.0.2.1", true),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true), ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ("::1", "0.0.0.1", false), ("::ffff:0:1", "::1", false), ("fe80::1%1", "fe80::2%2", true),
    ])
    func sources(first: String, second: String, areOne: Bool) throws {
        var gate = HandshakeGate(limit: 10, limitPerSource: 1)
        #expect(gate.enter(try address(first)) == .admitted)
        let verdict = gate.enter(try address(second))
        #expect(verdict == (areOne ? .refusedForSource : .admitted))
        #expect(HandshakeGate.isSameSource(try address(first), try address(second)) == areOne)
        gate.leave(try address(first))
        if areOne { #expect(gate.enter(try address(second)) == .admitted) }
    }

    @Test func limitOfAll() throws {
        var gate = HandshakeGate(limit: 3, limitPerSource: 2)
        #expect(gate.enter(try address("192.0.2.1")) == .admitted)
        #expect(gate.enter(try address("192.0.2.1")) == .admitted)
        let third = gate.enter(try address("192.0.2.1"))
        #expect(third == .refusedForSource && third.bound == "limits.handshakes-per-source")
        #expect(gate.enter(try address("192.0.2.2")) == .admitted)
        let fourth = gate.enter(try address("192.0.2.3"))
        #expect(fourth == .refused && fourth.bound == "limits.handshakes")
        #expect(gate.count == 3)
        for text in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.9"] { gate.leave(try address(text)) }
        #expect(gate.count == 0, "who never came in does not go out")
    }

    @Test(arguments: UInt64(1)...20) func countIsTheSumOfItsSources(seed: UInt64) {
        var random = SeededRandom(seed)
        var gate = HandshakeGate(limit: 40, limitPerSource: 5)
        var model: [UInt32: Int] = [:]
        for _ in 0..<2_000 {
            let source = UInt32.random(in: 0..<16, using: &random)
            let present = model[source, default: 0]
            if Bool.random(using: &random) {
                let verdict = gate.enter(IPAddress(v4: source))
                let total = model.values.reduce(0, +)
                #expect((verdict == .admitted) == (total < 40 && present < 5), "seed \(seed)")
                if verdict == .admitted { model[source] = present + 1 }
            } else if present > 0 {
                gate.leave(IPAddress(v4: source))
                model[source] = present - 1
            }
            #expect(gate.count == model.values.reduce(0, +), "seed \(seed)")
        }
    }
}

/// Who becomes a node, through the real relay.
@Suite struct AdmissionTests {
    @Test func inviteMakesANode() throws {
        let site = try RelaySite()
        defer { site.end() }
        let agent = try site.join("home")
        #expect(agent.welcome?.nodeName == "home")
        let node = try #require(site.relay.nodes.nodes[agent.node.id])
        #expect(node.record.name.text == "home")
        #expect(node.provider.instance?.state == .active)
        #expect(agent.welcome?.transportIDs == [agent.provider.local.address])
        #expect(site.log.contains("node registered"))
        agent.platform.shutdown(now: site.loop.now)
        try site.runner.run("its end") { site.relay.nodes.nodes.isEmpty }
        let again = try site.rejoin(agent.node)
        #expect(again.welcome?.nodeName == "home")
    }

    enum Stranger: CaseIterable { case noInvite, unknownInvite, usedInvite, rubbish, draining, fullTable, removed }

    /// Each gets its reason, and nothing of it stays.
    @Test(arguments: Stranger.allCases) func refusals(stranger: Stranger) throws {
        let site = try RelaySite { if stranger == .fullTable { $0.limits.nodes = 1 } }
        defer { site.end() }
        let (agent, word) = try stranded(stranger, site)
        let record = try site.refusal(agent)
        #expect(record.reason == (stranger == .draining ? .providerRequest : .providerOtherFailure))
        #expect(record.message.contains(word), "\(record.message)")
        try site.runner.run("nothing of it") { site.relay.nodes.nodes[agent.node.id] == nil }
        #expect(site.log.contains("node refused") || stranger == .removed)
        #expect(agent.welcome == nil || stranger == .removed)
    }

    private func stranded(_ stranger: Stranger, _ site: RelaySite) throws -> (TestAgent, String) {
        switch stranger {
        case .noInvite: return (try site.agent(), "unknown node")
        case .unknownInvite: return (try site.agent(token: [UInt8](repeating: 7, count: 16)), "invite unknown")
        case .rubbish: return (try site.agent(token: [1, 2, 3]), "unknown node")
        case .usedInvite:
            let token = try site.invite("home")
            let first = try site.agent(token: token)
            try site.runner.run("a session") { first.isActive }
            return (try site.agent(token: token), "invite used")
        case .draining:
            site.relay.nodes.drain()
            return (try site.agent(token: try site.invite("home")), "stopping")
        case .fullTable:
            _ = try site.join("first")
            return (try site.agent(token: try site.invite("second")), "limits.nodes")
        case .removed:
            let agent = try site.join("home")
            try site.remove("home")
            site.relay.nodes.checkRegistry()
            return (agent, "revoked")
        }
    }

    /// A newer session of the same key takes over at once; the older one is told.
    @Test func replacedSession() throws {
        let site = try RelaySite()
        defer { site.end() }
        let first = try site.join("home")
        let second = try site.rejoin(first.node)
        let record = try site.refusal(first)
        #expect(record.reason == .providerOtherFailure)
        #expect(record.message.contains("another session"))
        #expect(record.retryAfter ?? .zero >= .seconds(30), "two programs with one key do not fight")
        #expect(second.isActive)
        #expect(site.relay.nodes.nodes.count == 1)
        let node = try #require(site.relay.nodes.nodes[first.node.id])
        #expect(node.provider.instance?.state == .active, "the end of the older does not take the newer along")
    }

    @Test func twoNodesAreTwo() throws {
        let site = try RelaySite()
        defer { site.end() }
        let (first, second) = (try site.join("one"), try site.join("two"))
        #expect(first.isActive && second.isActive)
        #expect(site.relay.nodes.nodes.count == 2)
        #expect(site.relay.statusText.contains("2 nodes connected"))
    }

    @Test func silentConnectionsAreClosed() throws {
        let site = try RelaySite { $0.timeouts.handshake = .milliseconds(200) }
        defer { site.end() }
        let peer = try TestPeer.connect(site.loop, site.port)
        try site.runner.run("the end of patience") { peer.isOver }
        #expect(site.log.contains("did not become a node's"))
    }

    @Test func handshakesPerSourceAreBounded() throws {
        let site = try RelaySite { $0.limits.handshakesPerSource = 2 }
        defer { site.end() }
        site.relay.arrivals.silence = .seconds(60)
        let first = try (0..<2).map { _ in try TestPeer.connect(site.loop, site.port) }
        try site.runner.run("connections") { first.allSatisfy(\.isConnected) }
        site.runner.settle()
        let third = try TestPeer.connect(site.loop, site.port)
        try site.runner.run("a refusal") { third.isOver }
        #expect(site.log.contains("limits.handshakes-per-source"))
        #expect(first.allSatisfy { !$0.isOver })
        first[0].close()
        site.runner.settle()
        let fourth = try TestPeer.connect(site.loop, site.port)
        try site.runner.run("a connection") { fourth.isConnected }
        site.runner.settle()
        #expect(!fourth.isOver)
    }

    /// Connections that were opened and left make room for a node, those first that never said a word.
    @Test func dawdlersMakeRoom() throws {
        let site = try RelaySite { $0.limits.handshakes = 3 }
        defer { site.end() }
        site.relay.arrivals.patience = .seconds(60)
        let talker = try TestPeer.connect(site.loop, site.port)
        talker.send("\u{16}\u{3}\u{1}")
        try site.runner.run("the first") { talker.isConnected }
        let idle = try (0..<2).map { _ in try TestPeer.connect(site.loop, site.port) }
        try site.runner.run("connections") { idle.allSatisfy(\.isConnected) && site.relay.arrivals.count == 3 }
        try pass(.milliseconds(700), site)
        let agent = try site.join("home")
        #expect(agent.isActive)
        #expect(idle.filter(\.isOver).count == 1 && !talker.isOver)
        #expect(site.relay.arrivals.count == 2)
    }

    /// Where all have said something, the slowest has to go.
    @Test func slowOnesMakeRoom() throws {
        let site = try RelaySite { $0.limits.handshakes = 2 }
        defer { site.end() }
        let slow = try (0..<2).map { _ in
            let peer = try TestPeer.connect(site.loop, site.port)
            peer.send("\u{16}\u{3}\u{1}")
            return peer
        }
        try site.runner.run("connections") { slow.allSatisfy(\.isConnected) && site.relay.arrivals.count == 2 }
        try pass(.milliseconds(900), site)
        #expect(try site.join("home").isActive)
        #expect(slow.filter(\.isOver).count == 1)
    }

    /// Where nobody dawdles yet, a node waits in the backlog and is not sent away.
    @Test func nodesWaitForRoom() throws {
        let site = try RelaySite { $0.limits.handshakes = 2 }
        defer { site.end() }
        site.relay.arrivals.silence = .seconds(60)
        site.relay.arrivals.patience = .seconds(60)
        let first = try (0..<2).map { _ in try TestPeer.connect(site.loop, site.port) }
        try site.runner.run("connections") { first.allSatisfy(\.isConnected) && site.relay.arrivals.count == 2 }
        let agent = try site.agent(token: try site.invite("home"))
        site.runner.settle()
        #expect(site.log.contains("connections wait"))
        #expect(!agent.isActive && agent.termination == nil, "\(String(describing: agent.termination))")
        first[0].close()
        try site.runner.run("a session") { agent.isActive }
        #expect(!first[1].isOver)
    }

    private func pass(_ time: Duration, _ site: RelaySite) throws {
        let clock = ContinuousClock()
        let begun = clock.now
        try site.runner.run("the time that passes") {
            site.relay.arrivals.turnBegan(site.loop.now)
            return clock.now - begun > time
        }
    }

    /// A node that comes and goes without end does not fill the log, and does not keep others out of it.
    @Test func restlessNodesAreToldOfInShort() throws {
        let site = try RelaySite()
        defer { site.end() }
        let node = try site.join("restless").node
        for _ in 0..<20 { _ = try site.rejoin(node) }
        _ = try site.join("home")
        let lines = site.log.lines.filter { $0.contains("node connected") || $0.contains("node disconnected") }
        #expect(lines.count <= 7, "\(lines)")
        #expect(lines.contains { $0.contains("home") })
    }
}
