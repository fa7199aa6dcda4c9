// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// A relay in the lab's Internet and an agent at home behind the NAT, set up as a user would: the relay makes an invite,
/// home joins with it, the agent runs with the configuration that came of it.
public final class Deployment: Sendable {
    public let lab: Lab
    /// The port that the relay takes tunnels on.
    public static let tunnelPort = 443
    /// How often the two sides make sure of each other; three of these without a word end a session.
    public static let livenessInterval: Duration = .seconds(1)
    /// A session over a dead path has ended by then.
    public static let deadSessionLimit: Duration = .seconds(15)

    private let running = Mutex<(relay: Child?, agent: Child?)>((nil, nil))

    public init(_ lab: Lab) throws {
        self.lab = lab
        for directory in [relayState, homeDirectory] {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        }
    }

    // MARK: Where things are

    public var relayState: String { "\(lab.directory)/relay" }
    public var homeDirectory: String { "\(lab.directory)/home" }
    public var relayConfiguration: String { "\(lab.directory)/relay.toml" }
    public var relaySocket: String { "\(lab.directory)/relay.sock" }
    public func agentConfiguration(_ directory: String? = nil) -> String { "\(directory ?? homeDirectory)/lab.toml" }
    public func agentSocket(_ directory: String? = nil) -> String { "\(directory ?? homeDirectory)/agent.sock" }

    /// The relay that runs now. Asking for it where there is none is a mistake of the test.
    public func relay() throws -> Child {
        guard let child = running.withLock({ $0.relay }) else { throw LabError("no relay was started") }
        return child
    }

    /// The agent that was started last.
    public func agent() throws -> Child {
        guard let child = running.withLock({ $0.agent }) else { throw LabError("no agent was started") }
        return child
    }

    // MARK: The relay

    /// What the lab's relay is told unless a test says otherwise.
    static let relayTables: Tables = [
        "expose": ["bind": "[\"0.0.0.0\", \"::\"]", "ports": "[\"tcp:1024-65535\", \"udp:1024-65535\"]"],
        "log": ["level": "\"debug\""],
        "timeouts": ["handshake": "\"2s\"", "liveness-interval": "\"1s\"", "drain": "\"3s\""],
    ]

    public func writeRelayConfiguration(_ tables: Tables = [:]) throws {
        let text = """
            listen = ["0.0.0.0:\(Self.tunnelPort)", "[::]:\(Self.tunnelPort)"]
            state-directory = "\(relayState)"
            public-address = ["\(lab.relay.address):\(Self.tunnelPort)"]
            admin-socket = "\(relaySocket)"

            """
        try (text + Self.relayTables.with(tables).toml)
            .write(toFile: relayConfiguration, atomically: true, encoding: .utf8)
    }

    /// Starts the relay and waits until it takes tunnels.
    /// - Parameter limits: options of prlimit (`--nofile=64`).
    @discardableResult
    public func startRelay(_ tables: Tables = [:], limits: [String] = []) async throws -> Child {
        try writeRelayConfiguration(tables)
        let child = try lab.relay.start(
            [Natfwt.binary, "relay", "--config", relayConfiguration], as: "relay", limits: limits)
        running.withLock { $0.relay = child }
        try await child.opens(Self.tunnelPort)
        return child
    }

    /// Makes an invite on the relay. The result's text is the line to hand over.
    public func invite(_ name: String = "home", _ options: [String] = []) async throws -> Output {
        let ports = options.contains("--expose") ? [] : ["--expose", "tcp:1024-65535", "--expose", "udp:1024-65535"]
        return try await lab.relay.run(
            [Natfwt.binary, "invite", name, "--config", relayConfiguration] + ports + options)
    }

    // MARK: The agent

    /// Joins with an invite in a directory (home's own unless told): makes the key, pins the relay's.
    public func join(_ invite: String, directory: String? = nil) async throws -> Output {
        let directory = directory ?? homeDirectory
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        return try await lab.home.run([Natfwt.binary, "join", invite, "--directory", directory])
    }

    /// The agent's configuration: what `join` wrote at the top, and the lab's tables and exposures.
    /// - Parameter edit: changes the joined part (another relay's address, another key).
    public func writeAgentConfiguration(
        _ exposures: [Exposure], _ tables: Tables = [:], directory: String? = nil, more: String = "",
        edit: (String) -> String = { $0 }
    ) throws {
        let directory = directory ?? homeDirectory
        let joined = try String(contentsOfFile: "\(directory)/agent.toml", encoding: .utf8)
        let top = joined.components(separatedBy: "\n").prefix { !$0.hasPrefix("[") }
            .filter { !$0.hasPrefix("admin-socket") && !$0.hasPrefix("#") }
        let base: Tables = [
            "log": ["level": "\"debug\""],
            "timeouts": ["backoff-initial": "\"100ms\"", "backoff-maximum": "\"500ms\"", "connect": "\"2s\""],
        ]
        let text =
            edit(top.joined(separator: "\n")) + "\nadmin-socket = \"\(agentSocket(directory))\"\n"
            + base.with(tables).toml + exposures.map(\.toml).joined() + more + "\n"
        try text.write(toFile: agentConfiguration(directory), atomically: true, encoding: .utf8)
        // It may hold an invite.
        chmod(agentConfiguration(directory), 0o600)
    }

    /// Starts the agent with the configuration written last.
    @discardableResult
    public func startAgent(directory: String? = nil, limits: [String] = []) throws -> Child {
        let child = try lab.home.start(
            [Natfwt.binary, "agent", "--config", agentConfiguration(directory)], as: "agent", limits: limits)
        running.withLock { $0.agent = child }
        return child
    }

    /// Relay, invite, join, agent; returns once every exposure is open on the relay.
    public func start(
        _ exposures: [Exposure], relay: Tables = [:], agent: Tables = [:], relayLimits: [String] = [],
        agentLimits: [String] = [], more: String = "", invite options: [String] = []
    ) async throws {
        try await startRelay(relay, limits: relayLimits)
        let invited = try await invite("home", options)
        guard invited.code == 0 else { throw LabError("invite: \(invited)") }
        let joined = try await join(invited.text)
        guard joined.code == 0 else { throw LabError("join: \(joined)") }
        try writeAgentConfiguration(exposures, agent, more: more)
        try startAgent(limits: agentLimits)
        try await opened(exposures)
    }

    /// Waits until the relay has these ports open.
    public func opened(_ exposures: [Exposure], within deadline: Duration = patience) async throws {
        let (relay, agent) = (try relay(), try agent())
        for exposure in exposures {
            for port in exposure.ports where port != 0 {
                try await until(
                    "the relay opens \(exposure.transport) \(port)\(relay.tail(8))\(agent.tail(8))", within: deadline
                ) { relay.hasPort(port, exposure.transport) }
            }
        }
    }

    /// Another node of this relay, on a machine of its own: invited, joined and connected.
    /// - Parameter wrapper: what stands before the program on its command line.
    public func addNode(
        _ name: String, on machine: Namespace, directory: String, _ tables: Tables = [:], more: String = "",
        invite options: [String] = [], wrapper: [String] = []
    ) async throws -> Child {
        let invited = try await invite(name, options)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try await machine.check([Natfwt.binary, "join", invited.text, "--directory", directory])
        try writeAgentConfiguration([], tables, directory: directory, more: more)
        let command = wrapper + [Natfwt.binary, "agent", "--config", agentConfiguration(directory)]
        let child = try machine.start(command, as: "agent-\(name)")
        try await child.says("session active")
        return child
    }

    // MARK: What the programs tell

    /// `natfwt status --json` of the agent or the relay.
    public func status(socket: String, in machine: Namespace) async throws -> String {
        try await machine.check([Natfwt.binary, "status", "--json", "--socket", socket])
    }

    /// The reason that the agent gives for the end of a session, when it gives one more than before.
    /// - Parameter known: how many it had given already.
    public func reason(
        after known: Int = 0, of agent: Child? = nil, within deadline: Duration = deadSessionLimit
    ) async throws -> TerminationReason {
        let child = try agent ?? self.agent()
        return try await eventually("the agent tells why the session ended\(child.tail())", within: deadline) {
            TerminationReason.all(in: child.log).dropFirst(known).first
        }
    }
}

extension Lab {
    /// A lab with a relay and an agent in it that exposes services.
    public static func deployed<Value>(
        _ exposures: [Exposure], nat: NATKind = .linux, wired: Bool = false, neighbour: Bool = false,
        relay: Tables = [:], agent: Tables = [:], _ body: (Deployment) async throws -> Value
    ) async throws -> Value {
        try await run(nat: nat, wired: wired, neighbour: neighbour) { lab in
            let deployment = try Deployment(lab)
            try await deployment.start(exposures, relay: relay, agent: agent)
            return try await body(deployment)
        }
    }
}
