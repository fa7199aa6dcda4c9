// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Registry
import Settings
import Telemetry
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// Which ports a node gets, through the real relay.
@Suite struct PortTableTests {
    private func entry(_ site: RelaySite, _ port: UInt16, _ transport: PortProtocol = .tcp) -> PortTable.Entry? {
        site.relay.ports.entries[PortTable.Key(transport: transport, port: port)]
    }

    private func isListening(_ site: RelaySite, _ port: UInt16) throws -> Bool {
        let peer = try TestPeer.connect(site.loop, port)
        try site.runner.run("an answer") { peer.isConnected || peer.failure != nil }
        peer.close()
        return peer.failure != .connectionRefused
    }

    @Test(arguments: [ExposeRequest.Transport.tcp, .udp]) func aPortThatWasAskedFor(transport: ExposeRequest.Transport)
        throws
    {
        let site = try RelaySite()
        defer { site.end() }
        let agent = try site.join("home")
        let port = try freePort(site.loop)
        #expect(try site.expose(agent, transport, port, id: 9) == ExposeAnswer(id: 9, port: port))
        #expect(entry(site, port, transport == .tcp ? .tcp : .udp)?.node == agent.node.id)
    }

    @Test func visitorsReachTheNode() throws {
        let site = try RelaySite()
        defer { site.end() }
        let agent = try site.join("home")
        let acceptor = TestAcceptor()
        agent.platform.acceptor = acceptor
        let port = try freePort(site.loop)
        _ = try site.expose(agent, .tcp, port)
        let visitor = try TestPeer.connect(site.loop, port)
        visitor.send("hello")
        try site.runner.run("the visitor's bytes") { acceptor.applications.first?.text == "hello" }
        let endpoint = try #require(acceptor.applications.first?.endpoint)
        #expect(endpoint.destination.port == port)
        #expect(endpoint.source == visitor.stream?.localAddress)
        #expect(entry(site, port)?.port.visitors == 1)
    }

    enum Refused: CaseIterable { case byTheRelay, byPermission, privileged, otherProgram, otherNode, twice, tooMany }

    @Test(arguments: Refused.allCases) func refusals(refused: Refused) throws {
        let site = try RelaySite {
            $0.expose.ports = [try? PortRule("tcp:1024-65535")].compactMap { $0 }
            if refused == .tooMany { $0.limits.exposuresPerNode = 1 }
        }
        defer { site.end() }
        let rules = refused == .byPermission ? try Permissions("tcp:2000-2001,udp:*") : .standard
        let agent = try site.join("home", rules)
        let port = try freePort(site.loop)
        let answer: ExposeAnswer
        let word: String
        var other: TestServer?
        switch refused {
        case .byTheRelay: (answer, word) = (try site.expose(agent, .udp, port), "does not offer udp port \(port)")
        case .byPermission:
            (answer, word) = (
                try site.expose(agent, .tcp, port), "may not expose tcp port \(port); it may expose tcp:2000-2001,udp:*"
            )
        case .privileged: (answer, word) = (try site.expose(agent, .tcp, 22), "does not offer tcp port 22")
        case .otherProgram:
            let server = try TestServer(site.loop)
            other = server
            (answer, word) = (try site.expose(agent, .tcp, server.port), "in use by another program")
        case .otherNode:
            _ = try site.expose(try site.join("other"), .tcp, port)
            (answer, word) = (try site.expose(agent, .tcp, port), "exposed by another node")
        case .twice:
            _ = try site.expose(agent, .tcp, port, id: 1)
            (answer, word) = (try site.expose(agent, .tcp, port, id: 2), "exposes tcp port \(port) already")
        case .tooMany:
            _ = try site.expose(agent, .tcp, port, id: 1)
            (answer, word) = (try site.expose(agent, .tcp, 0, id: 2), "limits.exposures-per-node")
        }
        #expect(answer.port == 0)
        #expect(answer.refusal.contains(word), "\(answer.refusal)")
        #expect(site.log.contains("port refused"))
        other?.close()
    }

    /// A port that could not be opened is not kept for the node that wanted it.
    @Test func failedPortIsNotReserved() throws {
        let site = try RelaySite()
        defer { site.end() }
        let server = try TestServer(site.loop)
        let (first, second) = (try site.join("one"), try site.join("two"))
        #expect(try site.expose(first, .tcp, server.port).port == 0)
        server.close()
        #expect(try site.expose(second, .tcp, server.port).port == server.port)
    }

    /// The relay chooses: within its range, past what other programs have.
    @Test func portsThatTheRelayChooses() throws {
        let (first, second, third) = try consecutivePorts()
        let site = try RelaySite { $0.expose.automatic = first...third }
        defer { site.end() }
        let busy = try TCPListener(
            loop: site.loop, address: TransportAddress(.loopbackV4, port: second), readPool: site.loop.buffers,
            delegate: try TestServer(site.loop))
        let agent = try site.join("home")
        let answers = try (UInt32(1)...2).map { try site.expose(agent, .tcp, 0, name: "service \($0)", id: $0) }
        #expect(Set(answers.map(\.port)) == [first, third], "\(answers)")
        let none = try site.expose(agent, .tcp, 0, name: "one more", id: 3)
        #expect(none.port == 0)
        #expect(none.refusal.contains("expose.automatic"), "\(none.refusal)")
        busy.close()
    }

    /// The ports that are given out are chosen by what the relay offers, where nothing was said of them.
    @Test func theRelayChoosesAmongWhatItOffers() throws {
        let port = try consecutivePorts().0
        let site = try RelaySite {
            $0.expose.automatic = RelaySettings.Expose.usualAutomatic
            $0.expose.ports = [PortRule(.tcp, port...port)].compactMap { $0 }
        }
        defer { site.end() }
        let agent = try site.join("home")
        #expect(try site.expose(agent, .tcp, 0).port == port)
    }

    private func consecutivePorts() throws -> (UInt16, UInt16, UInt16) {
        let runner = try LoopRunner()
        defer { runner.end() }
        for _ in 0..<100 {
            let port = try freePort(runner.loop)
            let range = (port..<port + 3).map { port in
                try? TCPListener(
                    loop: runner.loop, address: TransportAddress(.loopbackV4, port: port),
                    readPool: runner.loop.buffers,
                    delegate: try TestServer(runner.loop))
            }
            defer { for listener in range { listener?.close() } }
            if range.allSatisfy({ $0 != nil }) { return (port, port + 1, port + 2) }
        }
        throw LabError("no three ports in a row are free")
    }

    /// The same name gets the same port again, in another session and from a relay that was started anew.
    @Test func chosenPortComesBack() throws {
        let folder = try TemporaryFolder()
        let node = TestNode()
        var port: UInt16 = 0
        do {
            let site = try RelaySite(folder: folder)
            defer { site.end() }
            let agent = try site.join("home", node: node)
            port = try site.expose(agent, .tcp, 0, name: "ssh").port
            #expect(port > 0)
            agent.platform.shutdown(now: site.loop.now)
            try site.runner.run("its end") { site.relay.nodes.nodes.isEmpty }
            #expect(site.relay.ports.entries.isEmpty)
            #expect(try !isListening(site, port))
            let other = try site.expose(try site.join("other"), .tcp, port)
            #expect(other.refusal.contains("kept for another node"), "\(other.refusal)")
        }
        let site = try RelaySite(folder: folder)
        defer { site.end() }
        let agent = try site.rejoin(node)
        #expect(try site.expose(agent, .tcp, 0, name: "ssh").port == port)
    }

    @Test func portThatIsGivenBackIsFree() throws {
        let site = try RelaySite()
        defer { site.end() }
        let (agent, other) = (try site.join("home"), try site.join("other"))
        let port = try freePort(site.loop)
        _ = try site.expose(agent, .tcp, port, id: 5)
        agent.provider.unexpose(77)
        agent.provider.unexpose(5)
        try site.runner.run("a closed port") { site.relay.ports.entries.isEmpty }
        #expect(try site.expose(other, .tcp, port).port == port)
    }

    /// The port stays open while a newer session takes over, and belongs to it as it is.
    @Test func newerSessionTakesOver() throws {
        let site = try RelaySite()
        defer { site.end() }
        let first = try site.join("home")
        let port = try freePort(site.loop)
        _ = try site.expose(first, .tcp, port, id: 3)
        let before = try #require(entry(site, port))
        let second = try site.rejoin(first.node)
        _ = try site.refusal(first)
        try site.runner.run("no owner") { before.provider == nil }
        #expect(try isListening(site, port), "never refused, only reset until somebody has it")
        let acceptor = TestAcceptor()
        second.platform.acceptor = acceptor
        #expect(try site.expose(second, .tcp, port, id: 8).port == port)
        let after = try #require(entry(site, port))
        #expect(before === after)
        #expect(after.orphanedAt == nil && after.request == 8)
        let visitor = try TestPeer.connect(site.loop, port)
        visitor.send("hello")
        try site.runner.run("the visitor") { acceptor.applications.first?.text == "hello" }
        site.relay.ports.sweep()
        #expect(entry(site, port) === after)
    }

    /// What nobody takes over is closed by and by; a session that just ends closes its ports at once.
    @Test(arguments: [false, true]) func portsWithoutAnOwner(isReplaced: Bool) throws {
        let site = try RelaySite()
        defer { site.end() }
        let table = PortTable(
            loop: site.loop, platform: site.relay.platform,
            registry: try SQLiteRegistry(path: site.folder[SQLiteRegistry.fileName]), settings: site.relay.settings,
            random: SeededRandom(1), logger: site.log.logger,
            sampler: LogSampler(site.log.logger), orphanage: .zero)
        let agent = try site.join("home")
        let node = try #require(site.relay.nodes.nodes[agent.node.id])
        let port = try freePort(site.loop)
        let request = ExposeRequest(id: 1, transport: .tcp, port: port)
        #expect(table.expose(request, for: node.provider, record: node.record).port == port)
        table.sessionEnded(node.provider, isReplaced: isReplaced)
        #expect(table.entries.isEmpty != isReplaced)
        table.sweep()
        #expect(table.entries.isEmpty)
        #expect(try !isListening(site, port))
    }

    /// The settings offer less than before: what is no longer offered is closed, and its node is told.
    @Test func settingsNarrow() throws {
        let site = try RelaySite()
        defer { site.end() }
        let agent = try site.join("home")
        let (kept, gone) = (try freePort(site.loop), try freePort(site.loop))
        _ = try site.expose(agent, .tcp, kept, id: 1)
        _ = try site.expose(agent, .tcp, gone, id: 2)
        var settings = site.relay.settings
        settings.expose.ports = [try PortRule("tcp:\(kept)")]
        site.relay.ports.applySettings(settings)
        try site.runner.run("word of it") { agent.answers.count == 3 }
        #expect(agent.answers[2].id == 2 && agent.answers[2].port == 0)
        #expect(try isListening(site, kept))
        #expect(try !isListening(site, gone))
    }
}
