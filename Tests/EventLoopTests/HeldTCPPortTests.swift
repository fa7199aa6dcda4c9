// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Primitives
import TestSupport
import Testing

@Suite("HeldTCPPort", .serialized)
struct HeldTCPPortTests {
    @Test("who connects waits until he is met", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func met(_ ip: IPAddress) throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let port = try HeldTCPPort(loop: runner.loop, address: TransportAddress(ip, port: 0))
        let client = try TestPeer.connect(runner.loop, port.address.port, ip: ip)
        runner.settle()
        #expect(!client.isConnected)
        let local = try #require(client.stream?.localAddress)
        let server = TestPeer()
        let stream = try port.meet(local, readPool: runner.loop.buffers, delegate: server)
        stream.startReading()
        server.adopt(stream)
        try runner.run("connected") { client.isConnected }
        #expect(stream.localAddress == port.address && stream.remoteAddress == local)
        client.send("there")
        client.finish()
        try runner.run("the end") { server.text == "there" && server.hasReceivedEnd }
        server.send("back")
        server.finish()
        try runner.run("the end") { client.text == "back" && client.hasReceivedEnd }
    }

    @Test("who is refused was never connected", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func refused(_ ip: IPAddress) throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let port = try HeldTCPPort(loop: runner.loop, address: TransportAddress(ip, port: 0))
        let client = try TestPeer.connect(runner.loop, port.address.port, ip: ip)
        let local = try #require(client.stream?.localAddress)
        guard case .done = port.refuse(local) else { throw LabError("it had no effect") }
        try runner.run("refused") { client.failure?.name == "ECONNRESET" }
        #expect(!client.isConnected)
    }

    @Test("nobody is met or refused where nobody is") func nobody() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let port = try HeldTCPPort(loop: runner.loop, address: TransportAddress(.loopbackV4, port: 0))
        let other = TransportAddress(.loopbackV4, port: try freePort(runner.loop))
        guard case .nobody = port.refuse(other) else { throw LabError("somebody is there") }
        let server = TestPeer()
        _ = try port.meet(other, readPool: runner.loop.buffers, delegate: server)
        try runner.run("refused") { server.failure?.isRefused == true }
    }

    @Test("once it is closed a connect is refused") func closed() throws {
        let runner = try LoopRunner()
        defer { runner.end() }
        let port = try HeldTCPPort(loop: runner.loop, address: TransportAddress(.loopbackV4, port: 0))
        port.close()
        let client = try TestPeer.connect(runner.loop, port.address.port)
        try runner.run("refused") { client.failure?.isRefused == true }
    }
}
