// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Identity
import Primitives
import TestSupport
import Testing
import Tunneling

@testable import Providers

/// How sessions begin, and for which reason they end, over real TLS on loopback.
@Suite struct SessionTests {
    @Test func bothSidesKnowEachOther() throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        #expect(ends.relay.hello?.nodeName == "home")
        #expect(ends.relay.provider?.node == ends.agent.node.id)
        #expect(ends.relay.provider?.remote == ends.agent.provider.local)
        #expect(ends.agent.provider.remote == ends.relay.provider?.local)
        #expect(ends.agent.welcome?.nodeName == "home")
        #expect(ends.relay.instance?.state == .active)
    }

    @Test func anotherRelaysKeyIsRefused() throws {
        let other = TestNode()
        let ends = try TunnelEnds { $0.relay = other.id }
        defer { ends.end() }
        try ends.agent.start()
        let record = try ends.termination()
        #expect(record.reason == .providerOtherFailure)
        #expect(record.message.contains("\(other.id)") && record.message.contains("\(ends.relay.node.id)"))
        #expect(record.activeFor == nil)
        try ends.runner.run("the relay's end") { ends.relay.fault != nil }
        #expect(ends.relay.fault?.reason == .otherCommunicationError)
        #expect(ends.relay.hello == nil, "the agent said nothing to a stranger")
    }

    static let codes: [(GoAwayCode, SessionTerminationReason)] = [
        (.shutdown, .providerRequest), (.protocolViolation, .providerOtherFailure),
        (.versionUnsupported, .providerOtherFailure), (.unknownNode, .providerOtherFailure),
        (.inviteUsed, .providerOtherFailure), (.inviteExpired, .providerOtherFailure),
        (.inviteUnknown, .providerOtherFailure), (.revoked, .providerOtherFailure), (.replaced, .providerOtherFailure),
        (.limit, .providerOtherFailure), (.internalError, .providerOtherFailure),
        (GoAwayCode(rawValue: 4_711), .providerOtherFailure),
    ]

    @Test(arguments: codes, [false, true])
    func goodbyesHaveTheirReason(_ row: (GoAwayCode, SessionTerminationReason), afterWelcome: Bool) throws {
        let ends = try TunnelEnds()
        defer { ends.end() }
        if !afterWelcome { ends.relay.onHello = { $0.refuse(row.0) } }
        try ends.agent.start()
        if afterWelcome {
            try ends.runner.run("a session") { ends.agent.isActive }
            ends.relay.refuse(row.0)
        }
        let record = try ends.termination()
        #expect(record.reason == row.1)
        #expect(record.message.contains("because of the test"))
        #expect((record.activeFor != nil) == afterWelcome)
        ends.runner.settle()
        #expect(ends.agent.clock.terminations.count == 1)
    }

    /// A relay that is only stopping lets the session be until it goes.
    @Test func sessionOutlivesAnAnnouncedShutdown() throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        ends.relay.provider?.drain("the relay is stopping")
        ends.runner.settle()
        #expect(ends.agent.isActive)
        ends.relay.carrier?.finish()
        #expect(try ends.termination().reason == .providerRequest)
    }

    enum Stage: CaseIterable { case tcp, tls, active }
    enum Fault: CaseIterable { case reset, end }

    @Test(arguments: Stage.allCases, Fault.allCases)
    func brokenConnections(stage: Stage, fault: Fault) throws {
        let ends = try TunnelEnds()
        defer { ends.end() }
        let cut: (TCPStream?) -> Void = { if fault == .reset { $0?.reset() } else { $0?.close() } }
        switch stage {
        case .tcp: ends.relay.onAccepted = { cut($0) }
        case .tls: ends.relay.onHello = { cut($0.stream) }
        case .active: break
        }
        try ends.agent.start()
        if stage == .active {
            try ends.runner.run("a session") { ends.agent.isActive }
            cut(ends.relay.stream)
        }
        let record = try ends.termination()
        #expect(record.reason == .otherCommunicationError, "\(record.message)")
        // An end with bytes unread is a reset, too.
        if fault == .reset { #expect(record.message.contains("reset"), "\(record.message)") }
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}12345"])
    func somethingElseThanTLS(answer: String) throws {
        let ends = try TunnelEnds()
        defer { ends.end() }
        ends.relay.onAccepted = { stream in
            stream.delegate = TestPeer()
            stream.write(ends.loop.slice(answer))
        }
        try ends.agent.start()
        #expect(try ends.termination().reason == .providerOtherFailure)
    }

    @Test(arguments: [Stage.tcp, .tls]) func silentRelay(stage: Stage) throws {
        let ends = try TunnelEnds { $0.handshakeTimeout = .milliseconds(200) }
        defer { ends.end() }
        let silent = TestPeer()
        if stage == .tcp { ends.relay.onAccepted = { silent.adopt($0) } } else { ends.relay.onHello = { _ in } }
        try ends.agent.start()
        let record = try ends.termination()
        #expect(record.reason == .providerTimeout)
        #expect(record.message.contains("handshake"))
    }

    /// What stalls the relay's end of a handshake: nothing at all, and a part of a TLS record.
    @Test(arguments: [[], [0x16], [0x16, 3, 1, 2, 0, 1]] as [[UInt8]]) func silentNode(bytes: [UInt8]) throws {
        let runner = try LoopRunner()
        let relay = try RelayEnd(runner.loop)
        defer { runner.end() }
        relay.patience = .milliseconds(200)
        let peer = try TestPeer.connect(runner.loop, relay.server.port)
        peer.send(bytes)
        try runner.run("the end of patience") { relay.fault != nil && peer.isOver }
        #expect(relay.fault?.reason == .providerTimeout)
    }

    @Test func silentPeer() throws {
        let ends = try TunnelEnds.throughValve(livenessInterval: .milliseconds(200))
        defer { ends.end() }
        ends.valve.shut()
        let record = try ends.termination()
        #expect(record.reason == .providerTimeout, "\(record.message)")
        #expect(record.message.contains("silent"))
    }

    /// Its kernel's buffers are full, so that nothing more is confirmed: that is its fault, not the path's.
    @Test func peerThatStopsReading() throws {
        let ends = try TunnelEnds.throughValve(livenessInterval: .seconds(1))
        defer { ends.end() }
        ends.acceptor.onAccepted = { application in
            application.onRoom = { endpoint in
                while endpoint.sendRoom > 0 { endpoint.send(ends.loop.buffers.lease()) }
            }
        }
        // Together they may send more than the kernel's buffers hold.
        let visitors = try (0..<100).map { _ in
            let visitor = TestApplication()
            visitor.keeps = false
            _ = try ends.relay.open(visitor)
            return visitor
        }
        try ends.runner.run("bytes of each") { visitors.allSatisfy { $0.count > 0 } }
        ends.valve.shut()
        let record = try ends.termination()
        #expect(record.reason == .providerTimeout, "\(record.message)")
    }

    @Test func farewellsAreHeard() throws {
        let ends = try TunnelEnds.active()
        defer { ends.end() }
        ends.agent.platform.shutdown(now: ends.loop.now)
        try ends.runner.run("the relay's end") { !ends.relay.clock.terminations.isEmpty }
        #expect(ends.relay.clock.terminations.first?.reason == .providerRequest)
        #expect(ends.agent.termination?.reason == .platformShutdown)
    }
}
