// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// Transport IDs: whom a provider reaches, and that it is asked before it is used.
    @Suite("Reaching") struct ReachTests {
        private static let somebody = "2001:21::1"

        /// Has the agent look for a way to somebody, who never answers.
        private func ping(_ site: Site) throws -> Child {
            try Child(
                "ping", [Natfwt.binary, "ping", Self.somebody, "--count", "1", "--socket", site.socket],
                directory: site.folder)
        }

        private func becomesActive(_ site: Site) async throws {
            try await until("the provider is active\(site.agent.tail())") {
                try await site.natfwt("providers").contains("): active")
            }
        }

        /// Obligation 17: told that every ID is a duplicate the platform tries others, and then ends the session.
        @Test func anotherIDIsTriedForADuplicate() async throws {
            let site = try await Site("duplicate")
            let mirror = try site.start("mirror", "refuse-add")
            _ = try await mirror.ended()
            let added = mirror.output.split(separator: "\n").filter { $0.hasPrefix("add ") }
            #expect(added.count > 1 && Set(added).count == added.count, "\(mirror.output)")
            #expect(mirror.output.contains("terminated 3\n"))
            await site.end()
        }

        /// Obligation 18: asked first, and used only where it says yes.
        @Test("only what is reached is sent to", arguments: ["well", "late", "refuse-reach"])
        func asksBeforeItSends(_ mode: String) async throws {
            let site = try await Site("reach", deadline: "5s")
            let mirror = try site.start("mirror", mode)
            try await becomesActive(site)
            let ping = try ping(site)
            if mode == "refuse-reach" {
                _ = try await ping.ended()
            } else {
                try await mirror.says("sent")
            }
            let events = mirror.output.split(separator: "\n").filter { ["asked", "sent"].contains($0) }
            #expect(events.first == "asked" && events.contains("sent") == (mode != "refuse-reach"), "\(mirror.output)")
            // Obligations 19 and 24, where it completes from another thread: once, and a second time in vain.
            #expect(mirror.output.contains("completed") == (mode == "late"))
            #expect(!mirror.output.contains("second completion taken") && !mirror.output.contains("refused"))
            #expect(site.agent.isRunning && site.reasons.isEmpty)
            await ping.destroy()
            await site.end()
        }

        /// Obligation 28: an ID that two peers hold is reached through neither.
        @Test("one peer of an ID", arguments: [1, 2]) func anIDOfTwoPeersIsNotReached(_ peers: Int) async throws {
            let site = try await Site("ambiguous")
            let list = "\(site.folder)/peers"
            let lines = (0..<peers).map { "\(Self.somebody) 127.0.0.\($0 + 1) 9\n" }
            try lines.joined().write(toFile: list, atomically: true, encoding: .utf8)
            let provider = try site.start("udp-provider", "\(freePort())", list)
            try await becomesActive(site)
            let ping = try ping(site)
            func hasSent() async throws -> Bool {
                !(try await site.natfwt("providers", "--json").contains(#""bytes-sent":0,"#))
            }
            if peers == 1 {
                try await until("something is sent") { try await hasSent() }
            } else {
                _ = try await ping.ended()
                #expect(try await !hasSent())
            }
            for child in [ping, provider] { await child.destroy() }
            await site.end()
        }
    }
}
