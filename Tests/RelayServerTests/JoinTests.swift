// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Foundation
import Identity
import Primitives
import Providers
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// Two connections to a relay that it makes one of (tunnel protocol, "Joined connections").
@Suite struct JoinTests {
    private final class Site {
        let pair: NodesOfARelay
        let meet: Meet
        var relay: RelayServer { pair.site.relay }
        var runner: LoopRunner { pair.site.runner }

        /// The laptop has made a tunnel to home.
        init(token: UInt8 = 1) throws {
            pair = try NodesOfARelay()
            meet = Site.meet(token)
            _ = try pair.connect()
        }

        static func meet(_ token: UInt8, secret: UInt8 = 7) -> Meet {
            Meet(
                token: Array(repeating: token, count: Meet.tokenLength),
                secret: Array(repeating: secret, count: Meet.secretLength))
        }

        func path(to peer: Peer, _ meet: Meet? = nil) -> JoinedPath {
            JoinedPath(
                addresses: [pair.site.address], relay: relay.key.id, node: peer.agent.node.id,
                meet: meet ?? self.meet, suite: "TLS_AES_128_GCM_SHA256")
        }

        /// The laptop's end of a connection with home.
        func connect() throws -> PeerProvider {
            let provider = try pair.laptop.join(path(to: pair.home), isDialing: true)
            _ = try pair.home.join(path(to: pair.laptop), isDialing: false)
            try runner.run("one connection of the two") { self.pair.laptop.active == 2 && self.pair.home.active == 2 }
            #expect(relay.nodes.joins.count == 1)
            return provider
        }

        /// Sockets of connections to the relay's port, on both sides, that this process holds.
        func connections() throws -> [String] {
            let port = String(pair.site.port, radix: 16, uppercase: true)
            let end = ":" + String(repeating: "0", count: 4 - port.count) + port
            let files = FileManager.default
            let held = Set(
                try files.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
                    try? files.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
                })
            // Read piece by piece, to its end: the file does not say how long it is.
            let file = try #require(FileHandle(forReadingAtPath: "/proc/net/tcp"))
            let table = String(decoding: try #require(try file.readToEnd()), as: UTF8.self)
            var found: [String] = []
            for line in table.split(separator: "\n") {
                let fields = line.split(separator: " ").map(String.init)
                // No listener, and no remains of what is closed.
                guard fields.count > 9, fields[3] != "0A", held.contains("socket:[\(fields[9])]") else { continue }
                guard fields[1].hasSuffix(end) || fields[2].hasSuffix(end) else { continue }
                found.append(fields[1...3].joined(separator: " "))
            }
            return found
        }

        func end() { pair.end() }
    }

    @Test func bytesPassBothWaysAndEachHalfEndsByItself() throws {
        let site = try Site()
        defer { site.end() }
        let provider = try site.connect()
        #expect(provider.node == site.pair.home.agent.node.id)
        let near = try site.pair.laptop.open(provider)
        try site.runner.run("it is taken") { near.isOpen }
        let far = try #require(site.pair.home.acceptor.applications.first)
        near.endpoint?.send(site.pair.site.loop.slice("a question"))
        near.endpoint?.finishSending()
        try site.runner.run("the question and its end") { far.text == "a question" && far.hasReceivedEnd }
        far.endpoint?.send(site.pair.site.loop.slice("an answer, after the end"))
        far.endpoint?.finishSending()
        try site.runner.run("the answer") { near.end == .finished }
        #expect(near.text == "an answer, after the end" && far.end == .finished)
        #expect(site.relay.nodes.joins.byteCount > 0)
    }

    /// What one does not read the other can't send: neither the relay nor anybody else keeps it.
    @Test(arguments: [UInt64(1), 2]) func bulk(seed: UInt64) throws {
        let site = try Site()
        defer { site.end() }
        let near = try site.pair.laptop.open(try site.connect())
        let total = 32 << 20
        let sender = Sender(near, loop: site.pair.site.loop, pattern: Pattern(seed: seed), total: total)
        near.pattern = Pattern(seed: seed + 100)
        near.keeps = false
        var back: Sender?
        site.pair.home.acceptor.onAccepted = { far in
            far.pattern = Pattern(seed: seed)
            far.keeps = false
            back = Sender(far, loop: site.pair.site.loop, pattern: Pattern(seed: seed + 100), total: total)
        }
        try site.runner.run("all bytes", within: .seconds(60)) {
            sender.pump()
            back?.pump()
            return near.count == total && site.pair.home.acceptor.applications.first?.count == total
        }
        #expect(near.isIntact && site.pair.home.acceptor.applications.first?.isIntact == true, "seed \(seed)")
        #expect(site.relay.nodes.joins.byteCount > UInt64(2 * total))
    }

    /// Who leaves is missed at once by all three.
    @Test(arguments: [true, false]) func theEndOfOneIsTheEndOfTheOther(dialing: Bool) throws {
        let site = try Site()
        defer { site.end() }
        _ = try site.connect()
        let leaving = dialing ? site.pair.laptop : site.pair.home
        leaving.providers.last?.leave("enough")
        try site.runner.run("the end at all three") {
            site.pair.laptop.ends.count == 1 && site.pair.home.ends.count == 1 && site.relay.nodes.joins.count == 0
        }
    }

    /// The secret is between the two: a relay that brings the wrong ones together brings them nothing.
    @Test func anotherSecretOpensNothing() throws {
        let site = try Site()
        defer { site.end() }
        _ = try site.pair.laptop.join(site.path(to: site.pair.home), isDialing: true)
        let other = site.path(to: site.pair.laptop, Site.meet(1, secret: 8))
        _ = try site.pair.home.join(other, isDialing: false)
        try site.runner.run("the end of both") { site.pair.laptop.ends.count == 1 && site.pair.home.ends.count == 1 }
        #expect(site.pair.laptop.active == 1 && site.pair.home.active == 1)
        #expect(site.pair.home.ends.first?.message.contains("altered on the way") == true)
    }

    @Test func anotherRelayIsNotSpokenTo() throws {
        let site = try Site()
        defer { site.end() }
        var path = site.path(to: site.pair.home)
        path.relay = TestNode().id
        _ = try site.pair.laptop.join(path, isDialing: true)
        try site.runner.run("its end") { site.pair.laptop.ends.count == 1 }
        #expect(site.pair.laptop.ends.first?.message.contains("not the relay's") == true)
    }

    /// A token that a third node has got hold of is of no use to it, and is used up.
    @Test func aStolenTokenIsRefused() throws {
        let site = try Site()
        defer { site.end() }
        let thief = try Peer(try site.pair.site.join("thief"), on: site.pair.site.loop)
        defer { thief.agent.platform.acceptor = nil }
        // It has a tunnel to home, as may be.
        _ = try thief.dial(site.pair.home.id)
        try site.runner.run("a session between the nodes") { thief.active == 1 && site.pair.home.active == 2 }
        _ = try site.pair.home.join(site.path(to: site.pair.laptop), isDialing: false)
        try site.runner.run("it waits") { site.relay.nodes.joins.waitingCount == 1 }
        _ = try thief.join(site.path(to: site.pair.home), isDialing: true)
        try site.runner.run("the end of both") { thief.ends.count == 1 && site.pair.home.ends.count == 1 }
        #expect(thief.ends.first?.message.contains("two other nodes") == true)
        #expect(thief.active == 1 && site.pair.home.active == 2)
    }

    /// A node that the relay does not know, or that has no tunnel with the other one.
    @Test func onlyNodesWithATunnelAreJoined() throws {
        let site = try Site()
        defer { site.end() }
        let stranger = TestAgent(
            site.pair.site.loop, TestNode(),
            try TestAgent.configuration(TestNode(), relay: site.relay.key.id, at: [site.pair.site.address]))
        let peer = try Peer(stranger, on: site.pair.site.loop)
        defer { stranger.platform.acceptor = nil }
        _ = try peer.join(site.path(to: site.pair.home), isDialing: true)
        try site.runner.run("a refusal") { peer.ends.count == 1 }
        #expect(peer.ends.first?.message.contains("have no tunnel") == true)
        _ = try site.pair.laptop.join(site.path(to: peer), isDialing: true)
        try site.runner.run("a refusal, the other way round") { site.pair.laptop.ends.count == 1 }
        site.pair.laptop.providers.first?.leave("enough")
        try site.runner.run("the end of the tunnel") { site.relay.nodes.tunnels.isEmpty }
        _ = try site.pair.home.join(site.path(to: site.pair.laptop), isDialing: true)
        try site.runner.run("a refusal of two that are connected") {
            site.pair.home.ends.last?.message.contains("have no tunnel") == true
        }
    }

    /// The registry's word counts for what is to be joined, and for what is joined.
    @Test func whomTheRegistryPartsIsNotJoined() throws {
        let site = try Site()
        defer { site.end() }
        _ = try site.connect()
        try site.pair.site.allow("home") { $0.reach = .only([]) }
        site.relay.nodes.sweepJoints()
        #expect(site.relay.nodes.joins.count == 1, "it is the laptop that had made the tunnel")
        try site.pair.site.allow("laptop") { $0.reach = .only([]) }
        site.relay.nodes.sweepJoints()
        try site.runner.run("the end of both tunnels on both sides") {
            site.pair.laptop.ends.count == 2 && site.pair.home.ends.count == 2
        }
        _ = try site.pair.laptop.join(site.path(to: site.pair.home), isDialing: true)
        try site.runner.run("a refusal") { site.pair.laptop.ends.count == 3 }
        #expect(site.pair.laptop.ends.last?.message.contains("have no tunnel") == true)
    }

    /// Also where it has no session any more.
    @Test(arguments: [true, false]) func aNodeThatIsRemovedLosesThem(isHere: Bool) throws {
        let site = try Site()
        defer { site.end() }
        _ = try site.connect()
        if !isHere {
            let instance = site.pair.home.agent.instance
            instance?.fail(SessionFault(.otherCommunicationError, "cut"), now: site.pair.site.loop.now)
            try site.runner.run("it has no session") { site.relay.nodes.nodes.count == 1 }
            site.relay.nodes.sweepJoints()
            #expect(site.relay.nodes.joins.count == 1, "a session that comes back finds all as it was")
        }
        try site.pair.site.remove("home")
        site.relay.nodes.checkRegistry()
        try site.runner.run("the end of both tunnels on both sides") {
            site.pair.laptop.ends.count == 2 && site.pair.home.ends.count == 2
        }
        #expect(site.relay.nodes.joins.count == 0)
    }

    /// A node may wait for so many others, and no more; those that die make room.
    @Test func thoseThatWaitAreBounded() throws {
        let site = try Site()
        defer { site.end() }
        for token in 0..<UInt8(17) {
            _ = try site.pair.laptop.join(site.path(to: site.pair.home, Site.meet(token)), isDialing: true)
        }
        try site.runner.run("one is refused") { site.pair.laptop.ends.count == 1 }
        #expect(site.pair.laptop.ends.first?.message.contains("too many") == true)
        try site.runner.run("the others wait") { site.relay.nodes.joins.waitingCount == 16 }
        for provider in site.pair.laptop.providers.dropFirst() { provider.leave("enough") }
        try site.runner.run("none waits") { site.relay.nodes.joins.waitingCount == 0 }
        let before = site.pair.laptop.active
        _ = try site.pair.laptop.join(site.path(to: site.pair.home), isDialing: true)
        _ = try site.pair.home.join(site.path(to: site.pair.laptop), isDialing: false)
        try site.runner.run("the next one") { site.pair.laptop.active == before + 1 }
    }

    /// Not one socket at the relay's port is left open.
    @Test func nothingIsLeftBehind() throws {
        let site = try Site()
        defer { site.end() }
        // Those of the two sessions.
        #expect(try site.connections().count == 4)
        _ = try site.connect()
        site.pair.laptop.providers.last?.leave("enough")
        try site.runner.run("its end") { site.pair.home.ends.count == 1 && site.relay.nodes.joins.count == 0 }
        for round in 1...20 {
            let meet = Site.meet(UInt8(round + 1))
            _ = try site.pair.laptop.join(site.path(to: site.pair.home, meet), isDialing: true)
            _ = try site.pair.home.join(site.path(to: site.pair.laptop, meet), isDialing: false)
            try site.runner.run("another one") { site.pair.laptop.active == round + 2 }
            (round.isMultiple(of: 2) ? site.pair.laptop : site.pair.home).providers.last?.leave("enough")
            try site.runner.run("its end") {
                site.pair.laptop.ends.count == round + 1 && site.pair.home.ends.count == round + 1
            }
        }
        try site.runner.run("none but theirs: \((try? site.connections()) ?? [])") {
            try site.connections().count == 4
        }
    }
}
