// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Identity
import Registry
import Telemetry

struct NodesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes",
        abstract: "The nodes that there are: asks this host's agent, or reads the relay's registry.",
        subcommands: [Show.self, List.self, Allow.self, Remove.self],
        defaultSubcommand: Show.self)

    /// What `natfwt nodes` alone means: on a node its agent's answer, on a relay the registry.
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask this host's agent; where none runs, list what the relay here knows.")

        @Flag(help: "One JSON object, from an agent.") var json = false
        @OptionGroup var agent: AgentSocket
        @OptionGroup var relay: RelayOptions

        func run() throws {
            do {
                if relay.config != nil || relay.stateDirectory != nil { return try List.show(relay) }
                switch AgentRequest.nodes(json: json).outcome(agent, lasts: false) {
                case .done: return
                case .failed(let failure): throw failure
                case .absent(let failure): try showRegistry(or: failure)
                }
            } catch let failure as StartFailure { throw fail(failure) }
        }

        private func showRegistry(or failure: StartFailure) throws {
            guard !json, agent.socket == nil else { throw failure }
            let file = "\(try relay.settings().stateDirectory)/\(SQLiteRegistry.fileName)"
            guard DefaultPlace.exists(file) else {
                throw StartFailure(
                    status: .unavailable, message: "\(failure.message); and no relay has run here: there is no \(file)")
            }
            try List.show(relay)
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "On the relay: list the nodes and the unused invites in its registry.")

        @OptionGroup var options: RelayOptions

        func run() throws {
            do { try List.show(options) } catch let failure as StartFailure { throw fail(failure) }
        }

        /// A line for each.
        fileprivate static func show(_ options: RelayOptions) throws {
            let registry = try openRegistry(options, isRead: true)
            let (nodes, invites) = try StartFailure.configuration { () throws(RegistryError) in
                (try registry.nodes(), try registry.invites())
            }
            let now = WallTime.now.seconds
            for node in nodes {
                let seen = WallTime(seconds: node.lastSeen).description
                try say("\(node.name)  \(node.id)  \(node.permissions.inWords)  last seen \(seen)")
            }
            for invite in invites where invite.use == nil {
                let end = invite.expiresAt.map { WallTime(seconds: $0).description } ?? "never"
                let verb = invite.isOver(now: now) ? "expired" : "expires"
                try say("\(invite.name)  invited  \(invite.permissions.inWords)  \(verb) \(end)")
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a node, or withdraw an invite. A session of the node ends within a second.")

        @OptionGroup var options: RelayOptions
        @Argument(help: "The node's name.") var name: String

        func run() throws {
            do {
                let name = try StartFailure.usage { () throws(NodeNameError) in try NodeName(self.name) }
                let registry = try openRegistry(options)
                let removal = try StartFailure.configuration { () throws(RegistryError) in
                    try registry.remove(name, now: WallTime.now.seconds)
                }
                switch removal {
                case .node(let node): try say("removed \(node.name), \(node.id)")
                case .invite(let invite): try say("withdrew the invite of \(invite.name)")
                }
            } catch let failure as StartFailure { throw fail(failure) }
        }
    }
}

/// - Parameter isRead: whether nothing is to be written to it.
func openRegistry(_ options: RelayOptions, isRead: Bool = false) throws(StartFailure) -> SQLiteRegistry {
    let settings = try options.settings()
    guard DefaultPlace.exists(settings.stateDirectory) else {
        throw StartFailure(
            status: .configuration,
            message:
                "\(settings.stateDirectory) does not exist: no relay has run here yet, or --state-directory names its folder"
        )
    }
    let path = "\(settings.stateDirectory)/\(SQLiteRegistry.fileName)"
    return try StartFailure.configuration { () throws(RegistryError) in
        isRead ? try SQLiteRegistry.reading(path: path) : try SQLiteRegistry(path: path)
    }
}
