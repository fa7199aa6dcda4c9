// SPDX-License-Identifier: Apache-2.0

@testable import EventLoop
import Glibc
import Primitives
import TestSupport
import Testing

/// A socket at a wildcard address of a host that has many:
///
///      client ──▶ 127.0.0.2 ┐
///                           ├ socket at 0.0.0.0
///      client ──▶ 127.0.0.1 ┘
///
/// A client of the usual kind takes answers from the address that it asked, and from no other.
@Suite struct UDPLocalAddressTests {
    @Test func answersFromWhereItWasAsked() throws {
        try answers(to: ["127.0.0.1", "127.0.0.2", "127.1.2.3"], by: ["127.0.0.9"], at: .anyV4)
    }

    /// In a namespace of its own, where addresses can be had: of the host, and of a link.
    @Test(.enabled(if: Lab.isAvailable)) func answersFromWhereItWasAskedOverIPv6() throws {
        try inNetworkOfItsOwn([
            "link set lo up", "addr add fd00::2/128 dev lo nodad", "addr add fd00::9/128 dev lo nodad",
            "link add left type veth peer name right", "link set left up", "link set right up",
            "addr add fe80::a/64 dev left nodad", "addr add fe80::b/64 dev left nodad",
            "addr add fe80::c/64 dev left nodad",
        ]) {
            try answers(to: ["::1", "fd00::2", "fd00::9"], by: ["::1", "fd00::2", "fd00::9"], at: .anyV6)
            try answers(to: ["fe80::a%left", "fe80::b%left"], by: ["fe80::b%left", "fe80::c%left"], at: .anyV6)
        }
    }

    /// Runs to and from several addresses, merged and cut by the kernel: each answer comes from where its question went.
    /// Each of the visitors asks each of the addresses, from a socket of its own.
    private func answers(to asked: [String], by visitors: [String], at wildcard: IPAddress) throws {
        let test = try TestLoop()
        defer { test.end() }
        let perClient = 200
        let pairs = try asked.flatMap { asked in
            try visitors.map { (asked: try #require(IPAddress(asked)), by: try #require(IPAddress($0))) }
        }
        let total = perClient * pairs.count
        let server = test.correspondent()
        var told: [IPAddress?: Int] = [:]
        let socket = try UDPSocket(loop: test.loop, bind: TransportAddress(wildcard, port: 0), delegate: server)
        let port = try #require(socket.localAddress).port
        server.onLocal = { told[$0, default: 0] += 1 }
        server.onReceived = { socket, datagram, from in socket.send(datagram, to: from, from: server.local) }
        var answered = 0
        let clients = try pairs.enumerated().map { index, pair in
            let client = test.correspondent()
            client.onReceived = { socket, datagram, from in
                #expect(datagram.byteCount == 100 + index && from == TransportAddress(pair.asked, port: port))
                answered += 1
                if answered == total { return test.loop.stop() }
                if client.received % 20 == 0 { ask(socket, index, client) }
            }
            return (try UDPSocket(loop: test.loop, bind: TransportAddress(pair.by, port: 0), delegate: client), client)
        }
        /// 20 more, so that no receive buffer overflows.
        func ask(_ socket: UDPSocket, _ index: Int, _ client: Correspondent) {
            guard client.received < perClient else { return }
            let bytes = [UInt8](repeating: 1, count: 100 + index)
            for _ in 0..<20 { socket.send(bytes.rawSpan, to: TransportAddress(pairs[index].asked, port: port)) }
        }
        for (index, (socket, client)) in clients.enumerated() { ask(socket, index, client) }
        test.run(atMost: .seconds(10))
        #expect(answered == total)
        #expect(told == Dictionary(pairs.map { ($0.asked, perClient) }, uniquingKeysWith: +))
        #expect(socket.dropped == 0)
    }

    /// A socket that has one address is told of none, with each datagram.
    @Test(arguments: [IPAddress.loopbackV4, .loopbackV6])
    func oneAddressIsNotTold(ip: IPAddress) throws {
        let test = try TestLoop()
        defer { test.end() }
        let server = test.correspondent()
        let socket = try UDPSocket(loop: test.loop, bind: TransportAddress(ip, port: 0), delegate: server)
        let client = try UDPSocket(
            loop: test.loop, connectedTo: try #require(socket.localAddress), delegate: test.correspondent())
        var told: [IPAddress?] = []
        server.onLocal = { local in
            told.append(local)
            test.loop.stop()
        }
        client.send([1].rawSpan)
        test.run()
        #expect(told == [nil])
    }

    /// What leaves from different addresses is not one message.
    @Test func mergesRunsFromOneAddress() throws {
        let test = try TestLoop()
        defer { test.end() }
        let socket = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.anyV4, port: 0), delegate: test.correspondent())
        let (a, b) = (IPAddress(v4: 0x7F00_0001), IPAddress(v4: 0x7F00_0002))
        let bytes = [UInt8](repeating: 1, count: 100)
        for local in [a, a, a, b, b, nil, nil, a] {
            socket.send(bytes.rawSpan, to: TransportAddress(a, port: 1), from: local)
        }
        let batch = try #require(socket.batch)
        let messages = (0..<batch.pointee.count).map { batch.messages[$0] }
        #expect(messages.map(\.length) == [300, 200, 200, 100])
        #expect(messages.map { $0.local.address(of: .v4) } == [a, b, nil, a])
    }

    /// A host may lose an address: what was to leave from it is dropped, and merging goes on as before.
    @Test func addressThatWentIsNoReasonToMergeLess() throws {
        let test = try TestLoop()
        defer { test.end() }
        let receiver = test.correspondent()
        let sink = try UDPSocket(loop: test.loop, bind: TransportAddress(.loopbackV4, port: 0), delegate: receiver)
        let socket = try UDPSocket(
            loop: test.loop, bind: TransportAddress(.anyV4, port: 0), delegate: test.correspondent())
        let before = socket.segmentLimit
        let address = try #require(sink.localAddress)
        let bytes = [UInt8](repeating: 1, count: 100)
        // 192.0.2.1 (RFC 5737) is nobody's.
        for _ in 0..<10 { socket.send(bytes.rawSpan, to: address, from: IPAddress(v4: 0xC000_0201)) }
        socket.send(bytes.rawSpan, to: address, from: .loopbackV4)
        receiver.onReceived = { _, _, _ in test.loop.stop() }
        test.run()
        #expect(receiver.received == 1 && socket.dropped == 10 && socket.segmentLimit == before)
    }
}

/// Runs the body on a thread in an empty network namespace, which ends with the thread and its sockets.
private func inNetworkOfItsOwn(_ lines: [String], _ body: () throws -> Void) throws {
    try withoutActuallyEscaping(body) { body in
        let work = ThreadWork {
            try #require(unshareNetwork() == 0)
            for line in lines {
                let status = system("ip \(line)")
                #expect(status == 0, "ip \(line)")
            }
            try body()
        }
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<ThreadWork>.fromOpaque(argument).takeUnretainedValue().run() }
                return nil
            }, Unmanaged.passUnretained(work).toOpaque())
        try #require(status == 0)
        pthread_join(thread, nil)
        if let error = work.error { throw error }
    }
}

/// unshare(2) with CLONE_NEWNET, which Glibc's module does not show.
private func unshareNetwork() -> Int32 {
    guard let symbol = dlsym(nil, "unshare") else { return -1 }
    return unsafeBitCast(symbol, to: (@convention(c) (Int32) -> Int32).self)(0x4000_0000)
}

private final class ThreadWork {
    private let body: () throws -> Void
    private(set) var error: (any Error)?

    init(_ body: @escaping () throws -> Void) { self.body = body }

    func run() {
        do { try body() } catch { self.error = error }
    }
}
