// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import TestSupport
import Testing
import Tunneling

@testable import Providers

/// A node that takes direct connections, and makes them.
private final class DirectEnd: DirectListenerDelegate, PeerProviderDelegate {
    let node = TestNode()
    let platform = Platform(random: SeededRandom(3))
    let clock: PlatformClock
    let acceptor = TestAcceptor()
    var configuration: PeerConfiguration
    private(set) var listener: DirectListener?
    /// Whom it lets in.
    var friends: Set<TransportID> = []
    /// Where set, a node that is let in is told that there is no room.
    var refusal: GoAway?
    private(set) var active: [PeerProvider] = []
    private(set) var ends: [(reason: SessionTerminationReason, message: String)] = []
    private(set) var failures: [String] = []
    private let loop: EventLoop

    init(_ loop: EventLoop, patience: Duration = .seconds(60)) throws {
        self.loop = loop
        clock = PlatformClock(loop, platform)
        platform.acceptor = acceptor
        configuration = PeerConfiguration(
            node: node.id, nodeName: "whoever", clientContext: try node.context(.client),
            serverContext: try node.context(.server), limits: TunnelLimits(), handshakeTimeout: patience,
            livenessInterval: .seconds(60))
    }

    var id: TransportID { TransportID(node.id.transportAddress) }
    var port: UInt16 { listener?.portV4 ?? 0 }
    var address: TransportAddress { TransportAddress(.loopbackV4, port: port) }

    func listen(port: UInt16 = 0) throws {
        listener = try DirectListener(loop: loop, port: port, configuration: configuration, delegate: self)
    }

    @discardableResult
    func dial(_ remote: DirectEnd, at addresses: TransportAddress...) throws -> PeerProvider {
        let provider = PeerProvider(
            loop: loop, remote: remote.id, configuration: configuration, connectingTo: addresses)
        try start(provider)
        return provider
    }

    private func start(_ provider: PeerProvider) throws {
        provider.delegate = self
        let instance = try platform.createInstance(provider: provider, name: "peer")
        try instance.register(now: loop.now)
        try instance.begin(transportIDs: [id], now: loop.now)
    }

    /// An endpoint to the other node's acceptor.
    func open(_ provider: PeerProvider) throws -> TestApplication {
        let application = TestApplication()
        let endpoint = try platform.openEndpoint(
            kind: .stream, from: id, to: provider.remote, destination: EndpointDestination(port: 22),
            over: provider.instance, application: application, now: loop.now)
        application.adopt(endpoint)
        return application
    }

    func end() {
        listener?.close()
        platform.shutdown(now: loop.now)
        platform.acceptor = nil
        acceptor.clear()
    }

    func directListener(_ listener: DirectListener, admits node: TransportID) -> Bool { friends.contains(node) }
    func directListener(_ listener: DirectListener, arrived provider: PeerProvider) -> GoAway? {
        if let refusal { return refusal }
        do { try start(provider) } catch { return GoAway(code: .internalError, text: "\(error)") }
        provider.admit()
        return nil
    }
    func directListener(_ listener: DirectListener, failed why: String, from address: TransportAddress) {
        failures.append(why)
    }

    func peerProvider(_ provider: PeerProvider, identified node: NodeID) {}
    func peerProviderActive(_ provider: PeerProvider) { active.append(provider) }
    func peerProvider(_ provider: PeerProvider, measuredRoundTrip time: Duration) {}
    func peerProvider(_ provider: PeerProvider, received signal: Signal) {}
    func peerProvider(_ provider: PeerProvider, received meet: Meet) {}
    func peerProviderEnded(_ provider: PeerProvider, reason: SessionTerminationReason, message: String) {
        ends.append((reason, message))
    }
}

/// Direct connections over loopback: who gets in, and what others get.
@Suite struct DirectTests {
    private final class Pair {
        let runner: LoopRunner
        let home: DirectEnd
        let laptop: DirectEnd

        /// - Parameter patience: how long whoever comes may take to say who he is.
        init(patience: Duration = .seconds(60)) throws {
            runner = try LoopRunner()
            home = try DirectEnd(runner.loop, patience: patience)
            laptop = try DirectEnd(runner.loop)
            home.friends = [laptop.id]
            try home.listen()
        }

        func connect() throws -> PeerProvider {
            let provider = try laptop.dial(home, at: home.address)
            try runner.run("a tunnel, or its end: \(laptop.ends)") {
                home.active.count == 1 && laptop.active.count == 1
            }
            return provider
        }

        func stranger() throws -> TestPeer {
            let peer = try TestPeer.connect(runner.loop, home.port)
            try runner.run("a connection") { peer.isConnected }
            return peer
        }

        func end() {
            home.end()
            laptop.end()
            runner.settle(turns: 3)
            runner.end()
        }
    }

    /// Bytes both ways, and each half's end by itself.
    private func exchange(_ pair: Pair, over provider: PeerProvider) throws {
        let before = pair.home.acceptor.applications.count
        let near = try pair.laptop.open(provider)
        try pair.runner.run("it is taken") { pair.home.acceptor.applications.count > before }
        let far = try #require(pair.home.acceptor.applications.last)
        near.endpoint?.send(pair.runner.loop.slice("there"))
        near.endpoint?.finishSending()
        try pair.runner.run("what was sent") { far.text == "there" && far.hasReceivedEnd }
        far.endpoint?.send(pair.runner.loop.slice("back"))
        far.endpoint?.finishSending()
        try pair.runner.run("the answer") { near.text == "back" && near.end != nil }
    }

    @Test func admittedNodeGetsIn() throws {
        let pair = try Pair()
        defer { pair.end() }
        let provider = try pair.connect()
        #expect(provider.node == pair.home.node.id && provider.directAddress == pair.home.address)
        let taken = try #require(pair.home.active.first)
        #expect(taken.node == pair.laptop.node.id && taken.remote == pair.laptop.id && !taken.isDialing)
        #expect(taken.directAddress?.ip == .loopbackV4)
        try exchange(pair, over: provider)
        #expect(pair.home.failures.isEmpty)
        provider.leave("because of the test")
        try pair.runner.run("the end on both sides") { pair.home.ends.count == 1 && pair.laptop.ends.count == 1 }
    }

    @Test func tunnelsStayWhenThePortIsClosed() throws {
        let pair = try Pair()
        defer { pair.end() }
        let provider = try pair.connect()
        let stranger = try pair.stranger()
        pair.home.listener?.close()
        try pair.runner.run("what was on its way is closed") { stranger.isOver }
        try exchange(pair, over: provider)
        let late = try TestPeer.connect(pair.runner.loop, pair.home.port)
        try pair.runner.run("a refusal") { late.failure != nil }
        #expect(late.failure?.isRefused == true)
    }

    @Test func othersAreToldThatTheyAreNotLetIn() throws {
        let pair = try Pair()
        defer { pair.end() }
        pair.home.friends = []
        try pair.laptop.dial(pair.home, at: pair.home.address)
        try pair.runner.run("the end") { pair.laptop.ends.count == 1 && pair.home.failures.count == 1 }
        #expect(pair.laptop.ends[0].reason == .providerOtherFailure)
        #expect(pair.laptop.ends[0].message.contains("there is no tunnel through a relay with this node"))
        #expect(pair.home.failures[0].contains("\(pair.laptop.node.id)"))
        #expect(pair.home.active.isEmpty && pair.laptop.active.isEmpty)
    }

    /// A node that is let in, and for which there is no room: told at once, and not left to wait.
    @Test func noRoomIsTold() throws {
        let pair = try Pair()
        defer { pair.end() }
        pair.home.refusal = GoAway(code: .limit, text: "there are enough")
        try pair.laptop.dial(pair.home, at: pair.home.address)
        try pair.runner.run("the end", within: .seconds(20)) { pair.laptop.ends.count == 1 }
        #expect(pair.laptop.ends[0].message.contains("there are enough"))
    }

    /// Somebody else has the address now.
    @Test func anotherNodeIsNotTakenForTheOne() throws {
        let pair = try Pair()
        defer { pair.end() }
        let other = try DirectEnd(pair.runner.loop)
        defer { other.end() }
        try other.listen()
        let provider = try pair.laptop.dial(pair.home, at: other.address)
        try pair.runner.run("the end") { pair.laptop.ends.count == 1 && other.failures.count == 1 }
        #expect(pair.laptop.ends[0].reason == .providerOtherFailure)
        #expect(pair.laptop.ends[0].message.contains("the other side has the key \(other.node.id)"))
        #expect(provider.directAddress == other.address, "the caller knows which address it was")
        #expect(other.active.isEmpty && pair.laptop.active.isEmpty)
    }

    /// Of several addresses the one that answers; the others cost little.
    @Test func firstAddressThatAnswers() throws {
        let pair = try Pair()
        defer { pair.end() }
        let silent = try HeldTCPPort(
            loop: pair.runner.loop, address: TransportAddress(IPAddress(v4: 0x7F00_0105), port: 0))
        let refusing = TransportAddress(.loopbackV6, port: try freePort(pair.runner.loop, ip: .loopbackV6))
        let provider = try pair.laptop.dial(pair.home, at: silent.address, refusing, pair.home.address)
        try pair.runner.run("a tunnel", within: .seconds(20)) { pair.laptop.active.count == 1 }
        #expect(provider.directAddress == pair.home.address)
    }

    @Test func noAddressAnswers() throws {
        let pair = try Pair()
        defer { pair.end() }
        let refusing = TransportAddress(.loopbackV4, port: try freePort(pair.runner.loop))
        let provider = try pair.laptop.dial(pair.home, at: refusing)
        try pair.runner.run("the end") { pair.laptop.ends.count == 1 }
        #expect(pair.laptop.ends[0].message.contains("can't be reached directly: \(refusing)"))
        #expect(provider.directAddress == nil)
    }

    /// The session ends while the connection is being made.
    @Test func givenUpWhileConnecting() throws {
        let pair = try Pair()
        defer { pair.end() }
        let silent = try HeldTCPPort(loop: pair.runner.loop, address: TransportAddress(.loopbackV4, port: 0))
        let provider = try pair.laptop.dial(pair.home, at: silent.address)
        pair.runner.settle(turns: 3)
        provider.leave("because of the test")
        pair.runner.settle()
        #expect(pair.laptop.ends.count == 1 && pair.laptop.active.isEmpty)
    }

    // MARK: Strangers

    @Test(arguments: [
        Array("GET / HTTP/1.0\r\n\r\n".utf8), [UInt8](repeating: 0, count: 3_000), [0x16, 3, 1, 0x40, 0] + [1, 2, 3],
        [UInt8](repeating: 0xFF, count: 70_000),
    ])
    func rubbishIsClosed(_ rubbish: [UInt8]) throws {
        let pair = try Pair()
        defer { pair.end() }
        let stranger = try pair.stranger()
        stranger.send(rubbish)
        stranger.finish()
        try pair.runner.run("the end") { stranger.isOver && pair.home.failures.count == 1 }
        #expect(stranger.received.count < 8, "no more than an alert")
        _ = try pair.connect()
    }

    @Test func silenceEndsWithThePatience() throws {
        let pair = try Pair(patience: .milliseconds(300))
        defer { pair.end() }
        let begin = pair.runner.loop.now
        let stranger = try pair.stranger()
        try pair.runner.run("the end") { stranger.isOver }
        #expect(pair.runner.loop.now - begin >= .milliseconds(300))
        #expect(pair.home.failures.count == 1 && stranger.received.isEmpty)
    }

    /// The oldest give way: nobody keeps a node out by saying nothing.
    @Test func silenceKeepsNobodyOut() throws {
        let pair = try Pair()
        defer { pair.end() }
        let crowd = try (0..<100).map { _ in try pair.stranger() }
        _ = try pair.connect()
        try pair.runner.run("the oldest are gone") { crowd.prefix(37).allSatisfy(\.isOver) }
        #expect(crowd.suffix(63).allSatisfy { !$0.isOver })
        _ = try pair.laptop.dial(pair.home, at: pair.home.address)
        try pair.runner.run("another one") { pair.laptop.active.count == 2 }
    }

    // MARK: Ports

    @Test func bothFamiliesHaveOnePort() throws {
        let pair = try Pair()
        defer { pair.end() }
        let listener = try #require(pair.home.listener)
        #expect(listener.portV4 != nil && listener.portV4 == listener.portV6)
        try pair.laptop.dial(pair.home, at: TransportAddress(.loopbackV6, port: pair.home.port))
        try pair.runner.run("a tunnel over IPv6") { pair.laptop.active.count == 1 }
        #expect(pair.home.active.first?.directAddress?.ip == .loopbackV6)
    }

    @Test func portThatIsTaken() throws {
        let pair = try Pair()
        defer { pair.end() }
        let loop = pair.runner.loop
        let port = try freePort(loop, ip: .anyV4)
        let (here, there) = (
            try TestServer(loop, ip: .anyV4, port: port), try TestServer(loop, ip: .anyV6, port: port)
        )
        #expect { try pair.laptop.listen(port: port) } throws: { ($0 as? UVError)?.isAddressInUse == true }
        there.close()
        pair.runner.settle(turns: 2)
        try pair.laptop.listen(port: port)
        #expect(pair.laptop.listener?.portV4 == nil && pair.laptop.listener?.portV6 == port, "the family that has it")
        here.close()
    }
}
