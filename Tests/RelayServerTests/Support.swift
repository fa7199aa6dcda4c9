// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import Cryptography
import EventLoop
import Identity
import Primitives
import Providers
import Registry
import Settings
import TestSupport
import Testing
import Tunneling

@testable import RelayServer

/// A relay on a loop that the test runs, and agents that reach it over loopback.
final class RelaySite {
    let folder: TemporaryFolder
    let log = MemoryLog()
    let relay: RelayServer
    let runner: LoopRunner
    private let clock: PlatformClock
    private var agents: [TestAgent] = []
    private let registry: SQLiteRegistry
    private let file: SettingsBox

    init(folder: TemporaryFolder? = nil, change: (inout RelaySettings) -> Void = { _ in }) throws {
        let folder = try folder ?? TemporaryFolder()
        self.folder = folder
        var settings = RelaySettings()
        settings.listen = [TransportAddress(.loopbackV4, port: 0)]
        settings.stateDirectory = folder.path
        settings.adminSocket = folder["relay.sock"]
        settings.expose.bind = [.loopbackV4]
        change(&settings)
        let file = SettingsBox(settings)
        self.file = file
        relay = try RelayServer(
            settings: settings, output: log.output, mayFallBack: false,
            reload: { () throws(SettingsError) in try file.read() })
        runner = try LoopRunner(relay.loop)
        clock = PlatformClock(relay.loop, relay.platform)
        registry = try SQLiteRegistry(path: folder[SQLiteRegistry.fileName])
    }

    var loop: EventLoop { relay.loop }
    var port: UInt16 { relay.listeners.addresses.first?.port ?? 0 }
    var address: HostAndPort { HostAndPort(host: "127.0.0.1", port: port) }

    /// The token of a new invite.
    func invite(_ name: String, _ permissions: Permissions = .standard, lasting seconds: Int64 = 3_600) throws
        -> [UInt8]
    {
        var random = SecureRandom()
        let token = InviteToken(using: &random)
        // A clock that is before the invite's day counts nothing as expired.
        let now = Int64(1_780_000_000)
        try registry.createInvite(
            token, name: try NodeName(name), permissions: permissions,
            expiresAt: seconds < 0 ? now + seconds : 4_000_000_000, now: now + min(0, seconds))
        return token.bytes
    }

    /// An agent that begins to connect.
    func agent(_ node: TestNode = TestNode(), token: [UInt8] = []) throws -> TestAgent {
        let configuration = try TestAgent.configuration(node, relay: relay.key.id, at: [address], token: token)
        let agent = TestAgent(loop, node, configuration)
        try agent.start()
        agents.append(agent)
        return agent
    }

    /// An agent with an active session.
    func join(
        _ name: String, _ permissions: Permissions = .standard, node: TestNode = TestNode()
    ) throws -> TestAgent {
        let agent = try agent(node, token: try invite(name, permissions))
        try runner.run("a session of \(name)") { agent.isActive }
        return agent
    }

    /// Another session of a node that is known.
    func rejoin(_ node: TestNode) throws -> TestAgent {
        let agent = try agent(node)
        try runner.run("a session") { agent.isActive }
        return agent
    }

    /// Why an agent is not let in.
    func refusal(_ agent: TestAgent) throws -> TerminationRecord {
        try runner.run("a refusal") { agent.termination != nil }
        return try #require(agent.termination)
    }

    /// The relay's answer to a wish.
    func expose(
        _ agent: TestAgent, _ transport: ExposeRequest.Transport = .tcp, _ port: UInt16, name: String = "",
        id: UInt32 = 1
    ) throws -> ExposeAnswer {
        let before = agent.answers.count
        agent.provider.expose(ExposeRequest(id: id, transport: transport, port: port, name: name))
        try runner.run("an answer") { agent.answers.count > before }
        return agent.answers[before]
    }

    /// The relay reads its settings anew.
    func reload(_ change: (inout RelaySettings) -> Void) {
        change(&file.settings)
        relay.programReloads()
    }

    /// The relay reads a file that is wrong.
    func reload(_ error: SettingsError) {
        file.error = error
        relay.programReloads()
        file.error = nil
    }

    /// The operator changes what a node may do.
    func allow(_ name: String, _ change: (inout Permissions) -> Void) throws {
        try registry.changePermissions(of: try NodeName(name), change)
        relay.nodes.checkRegistry()
    }

    func remove(_ name: String) throws { try registry.remove(try NodeName(name), now: 1_780_000_001) }

    func end() {
        for agent in agents { agent.platform.shutdown(now: loop.now) }
        relay.platform.shutdown(now: loop.now)
        runner.settle(turns: 5)
        runner.end()
    }
}

/// The settings' file of a relay.
private final class SettingsBox {
    var settings: RelaySettings
    var error: SettingsError?

    init(_ settings: RelaySettings) { self.settings = settings }

    func read() throws(SettingsError) -> RelaySettings {
        if let error { throw error }
        return settings
    }
}
