// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import Redirection
import Telemetry
import TestSupport
import Testing
import Tunneling

@testable import Agent

/// The tunnels that a node has with others.
@Suite struct PeerTableTests {
    /// A table whose tunnels lead to a listener that never says a word.
    private final class Site {
        let runner: LoopRunner
        let folder: TemporaryFolder
        let log = MemoryLog()
        let platform = Platform(random: SeededRandom(5))
        let peers: PeerTable
        let server: TestServer

        init() throws {
            runner = try LoopRunner()
            folder = try TemporaryFolder()
            let node = TestNode()
            let names = NodeNames(
                loop: runner.loop, known: try KnownNodes(path: folder["known-nodes"]), suffix: "natfwt.internal",
                logger: log.logger)
            let configuration = PeerConfiguration(
                node: node.id, nodeName: "", clientContext: try node.context(.client),
                serverContext: try node.context(.server), limits: TunnelLimits(), handshakeTimeout: .seconds(60))
            peers = PeerTable(
                loop: runner.loop, platform: platform, configuration: configuration, names: names, logger: log.logger,
                sampler: LogSampler(log.logger))
            server = try TestServer(runner.loop)
        }

        func provider(to node: TransportID) -> PeerProvider {
            PeerProvider(
                loop: runner.loop, remote: node, configuration: peers.configuration,
                connectingTo: [TransportAddress(.loopbackV4, port: server.port)])
        }

        /// Begins a tunnel.
        /// - Returns: why there is none.
        func begin(_ provider: PeerProvider) -> RouteFailure? {
            do throws(RouteFailure) { try peers.start(provider, on: .direct) } catch { return error }
            return nil
        }

        func end() {
            platform.shutdown(now: runner.loop.now)
            runner.settle()
            runner.end()
        }
    }

    /// Tunnels that are being made count: whoever asks for more with one node is told the bound, others are not in its way.
    @Test func tunnelsWithOneNodeAreBounded() throws {
        let site = try Site()
        defer { site.end() }
        let home = TransportID(TestNode().id.transportAddress)
        let first = site.provider(to: home)
        #expect(site.begin(first) == nil)
        for _ in 1..<PeerTable.mostPeersOfANode { #expect(site.begin(site.provider(to: home)) == nil) }
        try site.runner.run("the connections") { site.server.peers.count == PeerTable.mostPeersOfANode }
        let failure = try #require(site.begin(site.provider(to: home)))
        #expect(failure.code == .limit)
        #expect(failure.message == "there are \(PeerTable.mostPeersOfANode) tunnels with \(home) already")
        #expect(site.peers.peers.count == PeerTable.mostPeersOfANode)
        #expect(site.begin(site.provider(to: TransportID(TestNode().id.transportAddress))) == nil)
        // One that ends makes room.
        first.leave("enough")
        try site.runner.run("its end") { site.peers.peers.count == PeerTable.mostPeersOfANode }
        #expect(site.begin(site.provider(to: home)) == nil)
        #expect(site.begin(site.provider(to: home))?.code == .limit)
    }
}
