// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// What waiting for packets costs, and how fast they are.
    @Suite("Waiting") struct WaitingTests {
        private struct Status: Decodable { var key: String }

        private struct Speed: Decodable {
            var bulk: Double
            var packets: Double
            var roundTrip: Double
            var application: Double

            enum CodingKeys: String, CodingKey {
                case bulk = "bulk_GBps"
                case packets = "packets_per_s"
                case roundTrip = "round_trip_us"
                case application = "application_cpu_times_within"
            }
        }

        /// How often the threads of a process have gone to sleep, or were made to.
        private func switches(_ process: Int32) -> Int {
            let folder = "/proc/\(process)/task"
            let threads = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
            return threads.reduce(0) { sum, thread in
                let status = (try? String(contentsOfFile: "\(folder)/\(thread)/status", encoding: .utf8)) ?? ""
                return sum + status.matches(of: /ctxt_switches:\s+(\d+)/).reduce(0) { $0 + (Int($1.1) ?? 0) }
            }
        }

        /// Whoever looks for packets before it sleeps stops looking: once nothing passes nobody is woken.
        @Test func nobodyIsWokenForNothing() async throws {
            let other = try await Site("key")
            let status = try JSONDecoder().decode(
                Status.self, from: Data(try await other.natfwt("status", "--json").utf8))
            await other.end()
            let site = try await Site("waiting", known: "home \(status.key)\n")
            let mirror = try site.start("mirror", "well")
            try await mirror.says("active")
            _ = try await site.natfwt("ping", "home")
            try await mirror.says("sent")
            // The counts of the last second: the provider's are to be none, the agent has timers of its own.
            var before = [0, 0]
            try await until("nothing wakes the provider for a second", every: .seconds(1)) {
                let now = [mirror.pid, site.agent.pid].map(switches)
                defer { before = now }
                return now[0] == before[0] && now[1] - before[1] < 50
            }
            await site.end()
        }

        /// A tenth of what an optimised build is held to, and less of the round trip: nothing has gone wrong entirely.
        @Test func aMirrorIsFast() async throws {
            let folder = try #require(Built.folder)
            let child = try Child(
                "measure",
                [Natfwt.binary, "conformance", "--measure", "--json", "--haste", "16", "\(folder)/mirror"],
                directory: folder)
            #expect(try await child.ended() == 0, "\(child.log)")
            let line = try #require(child.output.split(separator: "\n").first { $0.hasPrefix("{") })
            let speed = try JSONDecoder().decode(Speed.self, from: Data(line.utf8))
            #expect(speed.bulk >= 0.2 && speed.packets >= 20_000, "\(line)")
            #expect(speed.roundTrip > 0 && speed.roundTrip <= 1_000, "\(line)")
            #expect(speed.application > 0 && speed.application <= 13, "\(line)")
        }
    }
}
