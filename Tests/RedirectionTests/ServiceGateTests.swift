// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport
import Testing

@testable import Redirection

/// Lets only some addresses be reached, and writes down what it is asked and told.
final class Gate: ServiceGate {
    var permitted: Set<IPAddress> = []
    var asked: [IPAddress] = []
    var failures: [EndpointResetCode] = []
    var settlements = 0
    /// Addresses that are tried beside others, and how many may be.
    var others = 0
    var mostOthers = Int.max
    var endedFlows = 0

    func permits(_ address: TransportAddress) -> Bool {
        asked.append(address.ip)
        return permitted.contains(address.ip)
    }
    func takesAnother() -> Bool {
        guard others < mostOthers else { return false }
        others += 1
        return true
    }
    func anotherEnded() { others -= 1 }
    func failed(_ reason: String, _ code: EndpointResetCode) { failures.append(code) }
    func settled() { settlements += 1 }
    func flowEnded() { endedFlows += 1 }
}

/// Takes endpoints to one service, past a gate.
final class GatedAcceptor: EndpointAcceptor {
    let gate = Gate()
    var service: Service
    private let directory: ServiceDirectory

    init(_ service: Service, _ directory: ServiceDirectory) {
        self.service = service
        self.directory = directory
    }

    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        directory.take(endpoint, to: service, gate: gate)
    }
}

@Suite struct ServiceGateTests {
    private static let first = IPAddress(v4: 0x7F00_0002)
    private static let second = IPAddress(v4: 0x7F00_0003)

    private func acceptor(_ site: Site, _ addresses: [TransportAddress]) -> GatedAcceptor {
        let description = ServiceDescription(target: HostAndPort(host: "somewhere.example", port: 80))
        let service = Service(description, loop: site.loop, addresses: addresses)
        let acceptor = GatedAcceptor(service, site.directory)
        site.agent.acceptor = acceptor
        return acceptor
    }

    /// A name with an address that must not be reached, and one that may: only that one is connected to.
    @Test func onlyWhatIsPermittedIsTried() throws {
        let site = try Site()
        defer { site.end() }
        let hidden = try TestServer(site.loop, ip: Self.first)
        let open = try TestServer(site.loop, ip: Self.second)
        let acceptor = acceptor(
            site, [TransportAddress(Self.first, port: hidden.port), TransportAddress(Self.second, port: open.port)])
        acceptor.gate.permitted = [Self.second]
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        visitor.send("hello")
        try site.runner.run("its bytes") { open.peers.first?.text == "hello" }
        #expect(hidden.peers.isEmpty)
        #expect(acceptor.gate.asked == [Self.first, Self.second])
        #expect(acceptor.gate.settlements == 1 && acceptor.gate.failures.isEmpty)
    }

    @Test func aNameWithoutAPermittedAddressIsNotAllowed() throws {
        let site = try Site()
        defer { site.end() }
        let hidden = try TestServer(site.loop, ip: Self.first)
        let acceptor = acceptor(site, [TransportAddress(Self.first, port: hidden.port)])
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("its end") { visitor.isOver }
        #expect(hidden.peers.isEmpty && site.directory.connections == 0)
        #expect(acceptor.gate.failures == [.notAllowed] && acceptor.gate.settlements == 1)
    }

    /// What nobody may reach is passed over; what may be and does not answer is what is told.
    @Test func theFailureOfWhatIsPermittedIsTold() throws {
        let site = try Site()
        defer { site.end() }
        let free = try freePort(site.loop)
        let acceptor = acceptor(
            site, [TransportAddress(Self.second, port: free), TransportAddress(Self.first, port: free)])
        acceptor.gate.permitted = [Self.second]
        let port = try site.exposeTCP(to: 1)
        let visitor = try TestPeer.connect(site.loop, port.port)
        try site.runner.run("its end") { visitor.isOver }
        #expect(acceptor.gate.failures == [.refused] && acceptor.gate.settlements == 1)
    }

    @Test func flowsAskToo() throws {
        let site = try Site()
        defer { site.end() }
        let hidden = try TestDatagrams(site.loop, ip: Self.first)
        let open = try TestDatagrams(site.loop, ip: Self.second)
        let acceptor = acceptor(
            site, [TransportAddress(Self.first, port: hidden.port), TransportAddress(Self.second, port: open.port)])
        acceptor.gate.permitted = [Self.second]
        let port = try site.exposeUDP(to: HostAndPort(host: "127.0.0.1", port: 1))
        let visitor = try TestDatagrams(site.loop, to: TransportAddress(.loopbackV4, port: port.port))
        visitor.send("hello")
        try site.runner.run("a datagram") { open.texts == ["hello"] }
        #expect(hidden.received.isEmpty && acceptor.gate.settlements == 1 && acceptor.gate.endedFlows == 0)
        site.breakSession()
        #expect(acceptor.gate.endedFlows == 1 && site.directory.flows == 0)
    }

    /// Many names of one node are asked for few at a time; another node's turn comes at once.
    @Test func lookupsOfANodeWaitForEachOther() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let lookups = EgressLookups(loop: runner.loop)
        let (one, other) = (TransportID(IPAddress(v4: 1)), TransportID(IPAddress(v4: 2)))
        var answers: [Int] = []
        for number in 0..<10 {
            lookups.resolve(HostAndPort(host: "localhost", port: UInt16(number)), for: one) { result in
                if case .success(let found) = result, let port = found.first?.port { answers.append(Int(port)) }
            }
        }
        #expect(lookups.count(of: one) == (EgressLookups.perNode, 10 - EgressLookups.perNode))
        lookups.resolve(HostAndPort(host: "localhost", port: 99), for: other) { _ in answers.append(99) }
        #expect(lookups.count(of: other) == (1, 0))
        try runner.run("all answers") { answers.count == 11 }
        #expect(Set(answers) == Set(Array(0..<10) + [99]))
        #expect(lookups.count(of: one) == (0, 0) && lookups.count(of: other) == (0, 0))
    }
}
