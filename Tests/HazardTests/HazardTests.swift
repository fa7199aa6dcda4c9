// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// What fails elsewhere, thrown at the real programs on loopback: a relay, an agent, and hostile company.
///
/// Each scenario is a function in `Support`, which starts what it needs in a folder of its own and says what did not
/// hold. By hand: `python3 Support/hazards.py hostile.floods PATH-OF-NATFWT`.
@Suite(
    "Hazards", .serialized, .enabled(if: Natfwt.isBuilt, "needs the natfwt program"),
    .enabled(if: Tool.has("python3", "openssl"), "needs python3 and openssl"))
struct HazardTests {
    private static let scripts = "\(URL(fileURLWithPath: #filePath).deletingLastPathComponent().path)/Support"

    @Test(
        "not admitted",
        arguments: ["rubbish", "handshakes", "unknown", "twins", "others_ports"])
    func admission(_ scenario: String) async throws { try await hold("admission.\(scenario)") }

    @Test("still the right one", arguments: ["replayed", "removed", "clocks", "keys"])
    func access(_ scenario: String) async throws { try await hold("access.\(scenario)") }

    @Test(
        "admitted and hostile",
        arguments: [
            "truncated", "mutated", "streams", "floods", "exposures", "stalled", "pinned", "pinned_pieces", "silent",
        ])
    func hostile(_ scenario: String) async throws { try await hold("hostile.\(scenario)") }

    @Test(
        "visitors and services",
        arguments: [
            "resets", "stalls", "both_ways", "half_closes", "service_down", "service_full", "gone", "datagrams",
        ])
    func visitors(_ scenario: String) async throws { try await hold("visitors.\(scenario)") }

    @Test("the agent's surroundings", arguments: ["false_relay", "names", "vanished"])
    func strangers(_ scenario: String) async throws { try await hold("strangers.\(scenario)") }

    @Test(
        "shortages",
        arguments: [
            "relay_descriptors", "agent_descriptors", "memory", "control_group", "neighbour", "disk", "read_only",
            "torn_state",
        ])
    func shortages(_ scenario: String) async throws { try await hold("shortages.\(scenario)") }

    @Test(
        "processes",
        arguments: ["killed", "stopped", "drained", "reloads", "instances", "no_log", "signals", "clock"])
    func processes(_ scenario: String) async throws { try await hold("processes.\(scenario)") }

    @Test(
        "many at once",
        arguments: ["half_open", "half_way", "half_open_one", "login_loop", "restart", "restart_one_source"])
    func crowds(_ scenario: String) async throws { try await hold("crowds.\(scenario)") }

    @Test(
        "bytes on the wire",
        arguments: ["sliced_node", "boundaries", "sliced_relay", "sliced_visits", "later_node", "later_relay"])
    func wire(_ scenario: String) async throws { try await hold("wire.\(scenario)") }

    @Test(
        "natfwt run", .enabled(if: Tool.has("cc"), "needs a C compiler"),
        arguments: [
            "connections", "failures", "many", "descendants", "datagrams_of_programs", "named", "programs", "statuses",
            "ends", "other_users", "unprivileged", "costs", "multipath", "kinds_of_sockets",
        ])
    func redirected(_ scenario: String) async throws { try await hold("redirected.\(scenario)") }

    @Test(
        "natfwt run, by the kernel", .enabled(if: Tool.has("cc"), "needs a C compiler"),
        arguments: [
            "connections", "failures", "many", "descendants", "datagrams_of_programs", "named", "programs", "statuses",
            "ends", "other_users", "unprivileged", "costs", "multipath", "kinds_of_sockets", "linked_statically",
            "looking_up", "without_it", "killed", "background",
        ])
    func redirectedByKernel(_ scenario: String) async throws { try await hold("redirected_kernel.\(scenario)") }

    @Test("nodes of one relay", arguments: ["unwanted", "in_the_tunnel", "signals"])
    func neighbours(_ scenario: String) async throws { try await hold("neighbours.\(scenario)") }

    @Test(
        "forged packets",
        arguments: ["sources_and_targets", "unserved", "truncated", "offloads", "mutated"])
    func forged(_ scenario: String) async throws { try await hold("forged.\(scenario)") }

    @Test("the host's resolver", arguments: ["names"])
    func resolver(_ scenario: String) async throws { try await hold("resolver.\(scenario)") }

    @Test("misuse", arguments: ["options", "files", "secrets"])
    func misuse(_ scenario: String) async throws { try await hold("misuse.\(scenario)") }

    @Test(
        "the warm byte path", .enabled(if: Tool.has("cc"), "needs a C compiler"),
        arguments: ["allocations", "datagrams"])
    func thrift(_ scenario: String) async throws { try await hold("thrift.\(scenario)") }

    @Test("every scenario is run here")
    func complete() async throws {
        let text = try String(contentsOfFile: #filePath, encoding: .utf8)
        let listed = try await run(["--list"]).output.split(separator: "\n")
        #expect(listed.count > 40)
        for name in listed {
            let parts = name.split(separator: ".")
            #expect(text.contains("\"\(parts[1])\"") && text.contains("\"\(parts[0])."), "\(name)")
        }
    }

    /// What a scenario says that this machine can't do.
    private static let skipped: Int32 = 77

    private func hold(_ scenario: String) async throws {
        let (code, output) = try await run([scenario, Natfwt.binary])
        if code == Self.skipped { try Test.cancel("\(output)") }
        #expect(code == 0, "\(output)")
    }

    private func run(_ arguments: [String]) async throws -> (code: Int32, output: String) {
        let folder = NSTemporaryDirectory() + "natfwt-hazards-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let child = try Child(
            "hazards", [Tool.python, "-B", "\(Self.scripts)/hazards.py"] + arguments, directory: folder)
        do {
            let code = try await child.ended(within: .seconds(300))
            return (code, child.log)
        } catch {
            // It ends what it started.
            child.signal(SIGTERM)
            try await child.ended(within: .seconds(30))
            throw error
        }
    }
}
