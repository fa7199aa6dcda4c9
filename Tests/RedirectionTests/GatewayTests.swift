// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Foundation
import Primitives
import Telemetry
import TestSupport
import Testing

@testable import Redirection

/// Where a gateway brings what was meant for others; with the packet filter in NetworkTests.
@Suite("Gateway", .enabled(if: geteuid() == 0, "needs CAP_NET_RAW"))
struct GatewayTests {
    private static let node = IPAddress(v6: 0x2001_0021 << 96 | 7)

    private struct Place {
        let names: NameSite
        let site: Site
        let router: TestRouter
        let gateway: Gateway

        init(egress: Bool = false, answers: Bool = true) throws {
            names = try NameSite()
            site = try Site()
            router = TestRouter(site)
            gateway = try Place.open(names, site, router, egress: egress, answers: answers)
        }

        /// At a port that is free over both transports and at every address: that of another test may not be.
        private static func open(
            _ names: NameSite, _ site: Site, _ router: TestRouter, egress: Bool, answers: Bool
        ) throws -> Gateway {
            for _ in 0..<16 {
                var plan = GatewayPlan(
                    port: try freePort(site.loop), egress: egress, connections: 2, flows: 10, flowTimeout: .seconds(60))
                plan.names = answers
                do throws(ListenFailure) {
                    return try Gateway(
                        loop: site.loop, plan: plan, router: router, names: names.answerer,
                        log: LogSampler(site.log.logger))
                } catch { guard error.error.isAddressInUse else { throw error } }
            }
            throw LabError("no port is free")
        }

        func way(_ text: String) throws -> Gateway.Way { gateway.way(to: try #require(TransportAddress(text))) }

        func end() {
            gateway.close()
            site.end()
            names.end()
        }
    }

    @Test("nodes' addresses lead to nodes, also where DNS is asked") func nodes() throws {
        let place = try Place()
        defer { place.end() }
        let mapped = try #require(place.names.addresses.mappedAddress(of: Self.node))
        for port in [22, 53] {
            let target = Gateway.Way.to(HostAndPort(host: "2001:21::7", port: UInt16(port)))
            #expect(try place.way("[2001:21::7]:\(port)") == target)
            #expect(try place.way("\(mapped):\(port)") == target)
        }
        #expect(try place.way("198.18.9.9:22") == .refused("no node was given that address"))
    }

    @Test("questions go to the answerer, for the server that they were meant for") func questions() throws {
        let place = try Place()
        defer { place.end() }
        let server = TransportAddress(IPAddress(v4: 0x0909_0909), port: 53)
        #expect(try place.way("9.9.9.9:53") == .names(server: server))
        #expect(try place.way("127.0.0.1:53") == .names(server: nil), "this host itself is meant")
        let silent = try Place(answers: false)
        defer { silent.end() }
        for text in ["9.9.9.9:53", "127.0.0.1:53"] {
            guard case .refused = try silent.way(text) else { return #expect(Bool(false), "\(text)") }
        }
    }

    @Test("all else goes out where that is wanted, but never to this host") func others() throws {
        let place = try Place()
        defer { place.end() }
        guard case .refused(let why) = try place.way("9.9.9.9:443") else { return #expect(Bool(false)) }
        #expect(why.contains("nothing goes out"))
        let open = try Place(egress: true)
        defer { open.end() }
        #expect(try open.way("9.9.9.9:443") == .to(HostAndPort(host: "9.9.9.9", port: 443)))
        #expect(try open.way("[2a00::1]:443") == .to(HostAndPort(host: "2a00::1", port: 443)))
        for text in ["127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:443"] {
            guard case .refused(let why) = try open.way(text) else { return #expect(Bool(false), "\(text)") }
            #expect(why.contains("packet filter"))
        }
    }

    @Test("who finds the port gets nothing", arguments: [IPAddress.loopbackV4, .loopbackV6])
    func found(_ ip: IPAddress) throws {
        let place = try Place(egress: true)
        defer { place.end() }
        let peer = try TestPeer.connect(place.site.loop, place.gateway.plan.port, ip: ip)
        try place.site.runner.run("the reset") { peer.failure != nil }
        #expect(peer.failure?.isReset == true)
        let datagrams = try TestDatagrams(place.site.loop, to: TransportAddress(ip, port: place.gateway.plan.port))
        datagrams.send("anybody?")
        try place.site.runner.run("it is told") { place.gateway.counters.failed == 2 }
        #expect(place.router.asked.isEmpty && datagrams.received.isEmpty && place.gateway.flows == 0)
        datagrams.close()
    }
}
