// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// A run in front of a site, and one of its processes.
final class RunSite: NodeFinder {
    let site: Site
    let router: TestRouter
    let run: RedirectedRun
    let names: NameAnswerer
    let v4: UInt16
    let v6: UInt16
    private let folder: String
    private let asker: Int32
    var nodes: [String: Result<IPAddress, RouteFailure>] = [:]

    static let node = IPAddress(v6: 0x2001_0021 << 96 | 7)

    init(user: UInt32 = geteuid(), egress: Bool = false, connections: Int = 100, flows: Int = 100) throws {
        site = try Site()
        router = TestRouter(site)
        folder = NSTemporaryDirectory() + "run-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let finder = Finder()
        names = NameAnswerer(
            loop: site.loop, suffix: "natfwt.internal", finder: finder, addresses: NodeAddresses(),
            servers: NameServers([]), log: LogSampler(site.log.logger))
        run = try RedirectedRun(
            loop: site.loop, path: "\(folder)/socket", user: user, egress: egress, router: router, names: names,
            limits: RunLimits(connections: connections, flows: flows, flowTimeout: .seconds(60)),
            log: LogSampler(site.log.logger))
        let words = run.environment.split(separator: " ")
        v4 = try #require(UInt16(words[1]))
        v6 = try #require(UInt16(words[2]))
        #expect(
            words[0] == "1" && words[3] == (egress ? "egress" : "nodes") && words[4] == "natfwt.internal"
                && words[5] == "\(folder)/socket")
        asker = try RunSite.connect("\(folder)/socket")
        finder.site = self
    }

    private static func connect(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, 2) }
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(descriptor >= 0 && bound == 0 && status == 0)
        return descriptor
    }

    func end() {
        run.close()
        names.close()
        close(asker)
        site.end()
        try? FileManager.default.removeItem(atPath: folder)
    }

    func find(nodeNamed name: String, _ completion: @escaping (Result<IPAddress, RouteFailure>) -> Void) {
        completion(nodes[name] ?? .failure(RouteFailure(.unreachable, "nobody")))
    }

    // MARK: The process

    func tell(_ message: [UInt8]) { _ = send(asker, message, message.count, 0) }

    /// Asks, and has the answer.
    func ask(_ message: [UInt8]) throws -> [UInt8] {
        tell(message)
        var answer: [UInt8]?
        try site.runner.run("an answer") {
            answer = heard()
            return answer != nil
        }
        return try #require(answer)
    }

    /// An answer that is there.
    func heard() -> [UInt8]? {
        var answer = [UInt8](repeating: 0, count: 64)
        let count = recv(asker, &answer, answer.count, 0)
        return count >= 0 ? Array(answer.prefix(count)) : nil
    }

    static func place(_ address: TransportAddress) -> [UInt8] { RunQuestion.answer(address) }

    func announce(_ local: TransportAddress, to destination: TransportAddress) {
        tell([1, 1] + RunSite.place(local) + RunSite.place(destination))
    }

    func verdict(_ local: TransportAddress) throws -> Int32 {
        Int32(try #require(try ask([1, 2] + RunSite.place(local)).first))
    }

    func peer(_ local: TransportAddress, target: UInt16 = 0) throws -> [UInt8] {
        try ask([1, 3] + RunSite.place(local) + [UInt8(target >> 8), UInt8(target & 0xFF)])
    }

    /// A connect(2) that has begun, and where it comes from.
    func client(_ ip: IPAddress = .loopbackV4) throws -> (peer: TestPeer, local: TransportAddress) {
        let peer = try TestPeer.connect(site.loop, ip == .loopbackV4 ? v4 : v6, ip: ip)
        return (peer, try #require(peer.stream?.localAddress))
    }

    func settled() throws {
        try site.runner.run("nothing left over") { run.connections == 0 && site.directory.connections == 0 }
        site.runner.settle(turns: 3)
        #expect(site.loop.buffers.leased == 0)
    }
}

/// Stands before the site, which is not there yet when the run is made.
private final class Finder: NodeFinder {
    weak var site: RunSite?

    func find(nodeNamed name: String, _ completion: @escaping (Result<IPAddress, RouteFailure>) -> Void) {
        site?.find(nodeNamed: name, completion)
    }
}
