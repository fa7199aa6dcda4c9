// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// A machine with an agent that has no relay, and a provider whose only peer is the other machine.
final class InterfaceMachine {
    let machine: Namespace
    let folder: String
    let agent: Child
    let id: String
    let key: String
    private(set) var provider: Child?

    convenience init(
        _ machine: Namespace, _ folder: String, more: String = "", known: String = "", interfaces: Bool = true
    ) async throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let settings = """
            relay = ["127.0.0.1:1"]
            relay-key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            admin-socket = "agent.sock"
            [providers]
            deadline = "1s"
            interfaces = \(interfaces)
            [timeouts]
            backoff-initial = "10s"
            drain = "0s"
            \(more)
            """
        try settings.write(toFile: "\(folder)/agent.toml", atomically: true, encoding: .utf8)
        try Site.makeKey("\(folder)/node.key")
        if !known.isEmpty {
            try known.write(toFile: "\(folder)/known-nodes", atomically: true, encoding: .utf8)
            chmod("\(folder)/known-nodes", 0o600)
        }
        let agent = try machine.start([Natfwt.binary, "agent", "--config", "\(folder)/agent.toml"], as: "agent")
        try await self.init(machine, folder, running: agent)
    }

    /// An agent that runs already.
    init(_ machine: Namespace, _ folder: String, running agent: Child) async throws {
        self.machine = machine
        self.folder = folder
        self.agent = agent
        try await until("the agent opens its sockets\(agent.tail())") {
            ["agent", "providers"].allSatisfy { FileManager.default.fileExists(atPath: "\(folder)/\($0).sock") }
        }
        let text = try await machine.check([Natfwt.binary, "status", "--json", "--socket", "\(folder)/agent.sock"])
        let status = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        id = try #require(status?["transport-id"] as? String)
        key = try #require(status?["key"] as? String)
    }

    /// - Parameters:
    ///   - sddl: what it registers with in the place of NULL.
    ///   - times: how often the peer is in its list.
    func startProvider(to peer: InterfaceMachine, sddl: String? = nil, times: Int = 1) async throws {
        try String(repeating: "\(peer.id) \(peer.machine.address) 4500\n", count: times).write(
            toFile: "\(folder)/peers", atomically: true, encoding: .utf8)
        var program = "\(try #require(Built.folder))/udp-provider"
        if let sddl { program = try build(sddl) }
        provider = try machine.start(
            [program, "4500", "\(folder)/peers"], as: "udp-provider",
            environment: ["CPNATFWT_SOCKET": "\(folder)/providers.sock"])
        try await isActive()
    }

    /// The example, which registers with NULL, with an sddl.
    private func build(_ sddl: String) throws -> String {
        let built = try #require(Built.folder)
        let header = """
            #include <cpnatfwt.h>
            #define CPNatfwtRegisterProviderInstance(instance, name, luid, flags, sddl) \\
                (CPNatfwtRegisterProviderInstance)(instance, name, luid, flags, L"\(sddl)")

            """
        try header.write(toFile: "\(folder)/sddl.h", atomically: true, encoding: .utf8)
        let program = "\(folder)/udp-provider"
        let isBuilt = Built.run(
            "/usr/bin/cc", "-std=gnu11", "-I", built, "-include", "\(folder)/sddl.h",
            "\(Built.repository)/Sources/Examples/udp-provider.c", "-L", built, "-lcpnatfwt",
            "-Wl,-rpath,\(built)", "-pthread", "-o", program)
        try #require(isBuilt)
        return program
    }

    func isActive() async throws {
        try await until("the provider is active\(agent.tail())") {
            try await self.natfwt("providers").contains("): active")
        }
    }

    func natfwt(_ arguments: String...) async throws -> String {
        try await machine.check([Natfwt.binary] + arguments + ["--socket", "\(folder)/agent.sock"])
    }

    /// What is told of the provider's device.
    func device(_ field: String) async throws -> Int {
        let text = try await natfwt("providers", "--json")
        let json = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        let instance = (json?["instances"] as? [[String: Any]])?.first
        let device = instance?["device"] as? [String: Any]
        let dropped = device?["dropped"] as? [String: Any]
        return (device?[field] ?? dropped?[field]) as? Int ?? -1
    }

    /// The kernel's number of the device.
    func index() async throws -> String {
        let line = try await machine.check(["ip", "-o", "link", "show", "natfwt-p0"])
        return String(line.prefix { $0 != ":" })
    }
}
