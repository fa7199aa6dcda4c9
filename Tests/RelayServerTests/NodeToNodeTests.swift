// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import Providers
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// Tunnels between two nodes, through a real relay and over real sockets.
@Suite struct NodeToNodeTests {
    @Test func bytesPassBothWaysAndEachHalfEndsByItself() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        #expect(pair.home.identified == [pair.laptop.agent.node.id])
        let near = try pair.laptop.open(provider)
        try pair.site.runner.run("it is taken") { near.isOpen }
        let far = try #require(pair.home.acceptor.applications.first)
        near.endpoint?.send(pair.site.loop.slice("a question"))
        near.endpoint?.finishSending()
        try pair.site.runner.run("the question and its end") { far.text == "a question" && far.hasReceivedEnd }
        #expect(!near.hasReceivedEnd)
        far.endpoint?.send(pair.site.loop.slice("an answer, after the end"))
        far.endpoint?.finishSending()
        try pair.site.runner.run("the answer") { near.end == .finished }
        #expect(near.text == "an answer, after the end" && far.end == .finished)
    }

    /// Many megabytes each way at once, every byte in its place, and nothing kept afterwards.
    @Test(arguments: [UInt64(1), 2, 3]) func bulk(seed: UInt64) throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        let total = 24 << 20
        let near = try pair.laptop.open(provider)
        let sender = Sender(near, loop: pair.site.loop, pattern: Pattern(seed: seed), total: total)
        near.pattern = Pattern(seed: seed + 100)
        near.keeps = false
        var back: Sender?
        pair.home.acceptor.onAccepted = { far in
            far.pattern = Pattern(seed: seed)
            far.keeps = false
            back = Sender(far, loop: pair.site.loop, pattern: Pattern(seed: seed + 100), total: total)
        }
        try pair.site.runner.run("all bytes", within: .seconds(60)) {
            sender.pump()
            back?.pump()
            return near.count == total && pair.home.acceptor.applications.first?.count == total
        }
        #expect(near.isIntact && pair.home.acceptor.applications.first?.isIntact == true, "seed \(seed)")
    }

    @Test(arguments: [EndpointResetCode.reset, .refused, .timedOut, .limit]) func resetsKeepTheirCode(
        code: EndpointResetCode
    ) throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        let near = try pair.laptop.open(provider)
        try pair.site.runner.run("it is taken") { near.isOpen }
        pair.home.acceptor.applications.first?.endpoint?.reset(code)
        try pair.site.runner.run("the reset") { near.end == .reset(code) }
    }

    @Test func datagramsPass() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        let near = try pair.laptop.open(provider, kind: .datagram)
        near.endpoint?.send(pair.site.loop.slice("hello"))
        try pair.site.runner.run("a datagram") { pair.home.acceptor.applications.first?.text == "hello" }
        pair.home.acceptor.applications.first?.endpoint?.send(pair.site.loop.slice("hello yourself"))
        try pair.site.runner.run("its answer") { near.text == "hello yourself" }
    }

    /// The relay may connect whom it likes: only the key that was asked for opens the tunnel.
    @Test func aStolenNameWithoutTheKeyIsRefused() throws {
        let pair = try NodesOfARelay(homeShows: TestNode())
        defer { pair.end() }
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("the end of the attempt") { pair.laptop.ends.count == 1 }
        #expect(pair.laptop.ends.first?.reason == .providerOtherFailure)
        #expect(pair.laptop.ends.first?.message.contains("somebody stands in between") == true)
        #expect(pair.laptop.active == 0 && pair.home.active == 0)
    }

    @Test func aNodeMayRefuse() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        pair.home.refusal = "not you"
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("the end of both") { pair.laptop.ends.count == 1 && pair.home.ends.count == 1 }
        #expect(pair.laptop.ends.first?.message.contains("not you") == true)
    }

    /// One node can't use up the streams of another: past the bound its tunnels are refused, and one that ends makes room.
    @Test func tunnelsOfAPairAreBounded() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        for _ in 0..<NodeTable.mostTunnelsOfAPair { _ = try pair.laptop.dial(pair.home.id) }
        try pair.site.runner.run("as many as may be") { pair.home.active == NodeTable.mostTunnelsOfAPair }
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("a refusal") { pair.laptop.ends.count == 1 }
        #expect(pair.laptop.ends.first?.message.contains("limit") == true)
        pair.laptop.providers[0].leave("enough")
        try pair.site.runner.run("its end at all three") {
            pair.home.ends.count == 1
                && pair.site.relay.nodes.tunnels.values.reduce(0, +) == NodeTable.mostTunnelsOfAPair - 1
        }
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("another one") { pair.home.active == NodeTable.mostTunnelsOfAPair + 1 }
    }

    /// A node that is not there, this node itself, an address that is no node's, and one that was removed meanwhile.
    @Test func whatIsNotThereIsToldAtOnce() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let absent = TransportID(TestNode().id.transportAddress)
        for id in [absent, pair.laptop.id] {
            let before = pair.laptop.ends.count
            _ = try pair.laptop.dial(id)
            try pair.site.runner.run("a refusal of \(id)") { pair.laptop.ends.count == before + 1 }
        }
        #expect(pair.laptop.ends.first?.message.contains("not connected") == true)
        #expect(pair.laptop.ends.last?.reason == .providerOtherFailure)
        #expect(pair.laptop.agent.isActive, "the session with the relay is not touched")
    }

    @Test func aNodeThatIsRemovedLosesItsTunnels() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        let near = try pair.laptop.open(provider)
        try pair.site.runner.run("it is taken") { near.isOpen }
        try pair.site.remove("home")
        pair.site.relay.nodes.checkRegistry()
        try pair.site.runner.run("the end on both sides") { pair.laptop.ends.count == 1 && pair.home.ends.count == 1 }
        #expect(near.end == .sessionTerminated(.otherCommunicationError))
    }

    /// The registry forbids more than the nodes themselves do: at once, without the others' harm, and until it is changed back.
    @Test func aNodeReachesWhomTheRegistryLetsItReach() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let provider = try pair.connect()
        let near = try pair.laptop.open(provider)
        try pair.site.runner.run("it is taken") { near.isOpen }
        let home = try NodeName("home")
        try pair.site.allow("laptop") { $0.reach = .only([home]) }
        #expect(pair.laptop.ends.isEmpty, "what is still allowed goes on")
        try pair.site.allow("laptop") { $0.reach = .only([]) }
        try pair.site.runner.run("the end on both sides") { pair.laptop.ends.count == 1 && pair.home.ends.count == 1 }
        #expect(pair.site.relay.nodes.tunnels.isEmpty && pair.laptop.agent.isActive && pair.home.agent.isActive)
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("a refusal") { pair.laptop.ends.count == 2 }
        #expect(pair.laptop.ends.last?.message.contains("does not allow it") == true)
        _ = try pair.home.dial(pair.laptop.id)
        try pair.site.runner.run("the other way") { pair.home.active == 2 }
        try pair.site.allow("laptop") { $0.reach = .all }
        _ = try pair.laptop.dial(pair.home.id)
        try pair.site.runner.run("allowed again") { pair.laptop.active == 3 }
    }

    /// Those that may neither reach the other nor be reached by it don't hear of each other.
    @Test func nodesThatMayNotMeetAreNotNamed() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let asking = pair.laptop.agent
        func states(_ id: UInt32, _ target: TunnelAddress) throws -> [String] {
            asking.provider.reach(ReachRequest(id: id, target: target))
            try pair.site.runner.run("an answer") { asking.reached.last.map { $0.id == id && !$0.isFollowed } ?? false }
            return asking.reached.filter { $0.id == id }.map { $0.state == .unknown ? "unknown" : $0.name }
        }
        let home = TunnelAddress.host(HostAndPort(host: "home", port: 0))
        try pair.site.allow("laptop") { $0.reach = .only([]) }
        #expect(try states(1, home) == ["home"], "it may come, and then it is to be known")
        try pair.site.allow("home") { $0.reach = .only([]) }
        #expect(try states(2, home) == ["unknown"])
        #expect(try states(3, .none) == ["laptop"])
    }

    /// Connected or not: who may make tunnels to whom is told to both.
    @Test func whoMayReachWhomIsTold() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let (laptop, home) = (pair.laptop.agent, pair.home.agent)
        func ask(_ agent: TestAgent, about other: TestAgent, _ id: UInt32) throws -> [String] {
            let target = TransportAddress(other.node.id.transportAddress, port: 0)
            agent.provider.reach(ReachRequest(id: id, target: .address(target)))
            try pair.site.runner.run("an answer") { agent.reached.contains { $0.id == id } }
            let answer = try #require(agent.reached.first { $0.id == id })
            return ["\(answer.state)"] + (answer.mayBeReached ? ["there"] : []) + (answer.mayReach ? ["back"] : [])
        }
        #expect(try ask(laptop, about: home, 1) == ["here", "there", "back"])
        try pair.site.allow("laptop") { $0.reach = .only([]) }
        #expect(try ask(laptop, about: home, 2) == ["here", "back"])
        #expect(try ask(home, about: laptop, 3) == ["here", "there"])
        laptop.platform.shutdown(now: pair.site.loop.now)
        try pair.site.runner.run("it is gone") { pair.site.relay.nodes.nodes.count == 1 }
        #expect(try ask(home, about: laptop, 4) == ["away", "there"])
        try pair.site.allow("laptop") { $0.reach = .all }
        #expect(try ask(home, about: laptop, 5) == ["away", "there", "back"])
        try pair.site.remove("laptop")
        pair.site.relay.nodes.checkRegistry()
        #expect(try ask(home, about: laptop, 6) == ["unknown", "there", "back"])
        _ = try pair.site.join("laptop", node: laptop.node)
        #expect(try ask(home, about: laptop, 7) == ["here", "there", "back"])
    }

    /// Every node is told once when somebody else has changed the registry, and not otherwise.
    @Test func changesAreTold() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let agents = [pair.laptop.agent, pair.home.agent]
        /// How many each was told of; whatever was told is here by the time that an answer is.
        func notices(_ id: UInt32) throws -> [Int] {
            for agent in agents {
                agent.provider.reach(ReachRequest(id: id, target: .none))
                try pair.site.runner.run("a list") { agent.reached.last.map { $0.id == id && !$0.isFollowed } ?? false }
            }
            return agents.map { $0.reached.count { $0 == .notice } }
        }
        pair.site.relay.nodes.checkRegistry()
        let before = try notices(1)
        pair.site.relay.nodes.checkRegistry()
        #expect(try notices(2) == before)
        try pair.site.allow("home") { $0.egress = true }
        #expect(try notices(3) == before.map { $0 + 1 })
        pair.site.relay.nodes.checkRegistry()
        #expect(try notices(4) == before.map { $0 + 1 })
    }

    /// The relay's streams of one node break without those of the other being left behind.
    @Test func theEndOfOneSessionEndsTheOther() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        _ = try pair.connect()
        pair.home.agent.instance?.fail(SessionFault(.otherCommunicationError, "cut"), now: pair.site.loop.now)
        try pair.site.runner.run("the other's end") { pair.laptop.ends.count == 1 }
        #expect(pair.site.relay.nodes.streams == 0)
    }

    @Test func nodesAreFoundByNameAndTransportID() throws {
        let pair = try NodesOfARelay()
        defer { pair.end() }
        let asking = pair.laptop.agent
        let home = pair.home.agent.node.id
        let questions: [(TunnelAddress, ReachAnswer.State)] = [
            (.host(HostAndPort(host: "home", port: 0)), .here), (.host(HostAndPort(host: "HOME", port: 0)), .here),
            (.address(TransportAddress(home.transportAddress, port: 0)), .here),
            (.host(HostAndPort(host: "nobody", port: 0)), .unknown),
            (.address(TransportAddress(TestNode().id.transportAddress, port: 0)), .unknown),
        ]
        for (index, question) in questions.enumerated() {
            asking.provider.reach(ReachRequest(id: UInt32(index + 1), target: question.0))
            try pair.site.runner.run("an answer") { asking.reached.count == index + 1 }
            let answer = asking.reached[index]
            #expect(answer.id == UInt32(index + 1) && answer.state == question.1 && !answer.isFollowed)
            if question.1 == .here { #expect(NodeID(bytes: answer.key) == home && answer.name == "home") }
        }
        asking.provider.reach(ReachRequest(id: 99, target: .none))
        try pair.site.runner.run("a list") { asking.reached.last.map { $0.id == 99 && !$0.isFollowed } ?? false }
        #expect(Set(asking.reached.filter { $0.id == 99 }.map(\.name)) == ["laptop", "home"])
    }
}
