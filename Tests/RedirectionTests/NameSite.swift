// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// A name answerer that is asked over real sockets, with nodes of its own and a server behind it that the test plays.
final class NameSite {
    let runner: LoopRunner
    let log = MemoryLog()
    let finder = Nodes()
    let addresses = NodeAddresses()
    let upstream: TestDatagrams
    let answerer: NameAnswerer
    let listener: NameListener
    private let folder = NSTemporaryDirectory() + "names-\(UUID().uuidString.prefix(8))"

    static let home = IPAddress(v6: 0x2001_0021 << 96 | 7)

    /// - Parameter servers: nil for the one that the test plays.
    init(servers: NameServers? = nil) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        runner = try LoopRunner()
        upstream = try TestDatagrams(runner.loop)
        let server = TransportAddress(.loopbackV4, port: upstream.port)
        answerer = NameAnswerer(
            loop: runner.loop, suffix: "natfwt.internal", finder: finder, addresses: addresses,
            servers: servers ?? NameServers([server]), log: LogSampler(log.logger))
        listener = try NameListener(
            loop: runner.loop, addresses: [TransportAddress(.loopbackV4, port: 0)], answerer: answerer,
            log: LogSampler(log.logger))
    }

    var address: TransportAddress {
        get throws { try #require(listener.addresses.first) }
    }

    /// What dig prints: with `+short` the data alone, without, the header and all records.
    func dig(_ words: String...) throws -> String { try dig(words) }

    func dig(_ words: [String]) throws -> String {
        let child = try start(words)
        try runner.run("dig \(words)") { !child.isRunning }
        return child.output
    }

    /// dig, while it waits for its answer.
    func start(_ words: [String]) throws -> Child {
        try Child(
            "dig", [Tool.path("dig"), "@127.0.0.1", "-p", "\(try address.port)", "+tries=1", "+time=10"] + words,
            directory: folder)
    }

    /// The answer to the next question that comes upstream, as the test makes it of the question's octets.
    func answersUpstream(_ count: Int = 1, _ body: ([UInt8]) -> [UInt8]) throws {
        let before = upstream.received.count
        try runner.run("a question upstream") { upstream.received.count >= before + count }
        for (question, sender) in zip(upstream.received, upstream.senders).dropFirst(before) {
            upstream.send(body(question), to: sender)
        }
    }

    func end() {
        listener.close()
        answerer.close()
        upstream.close()
        runner.end()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Nodes that the test knows of.
    final class Nodes: NodeFinder {
        var known: [String: Result<IPAddress, RouteFailure>] = ["home": .success(NameSite.home)]
        private(set) var asked: [String] = []

        func find(nodeNamed name: String, _ completion: @escaping (Result<IPAddress, RouteFailure>) -> Void) {
            asked.append(name)
            completion(known[name] ?? .failure(RouteFailure(.unreachable, "nobody")))
        }

        func find(nameOf id: IPAddress, _ completion: @escaping (Result<String, RouteFailure>) -> Void) {
            completion(id == NameSite.home ? .success("home") : .failure(RouteFailure(.unreachable, "nobody")))
        }
    }
}
