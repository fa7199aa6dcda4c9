// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Identity
import Registry
import Telemetry

struct NodesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes", abstract: "On the relay: the nodes that it knows.",
        subcommands: [List.self, Remove.self],
        defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the nodes and the open invites.")

        @OptionGroup var options: RelayOptions

        func run() throws {
            do {
                let registry = try openRegistry(options)
                let (nodes, invites) = try StartFailure.configuration { () throws(RegistryError) in
                    (try registry.nodes(), try registry.invites())
                }
                let now = WallTime.now.seconds
                for node in nodes {
                    let seen = WallTime(seconds: node.lastSeen).description
                    try say("\(node.name)  \(node.id)  may expose \(node.permissions)  last seen \(seen)")
                }
                for invite in invites where invite.use == nil && !invite.isExpired(now: now) {
                    let end = invite.expiresAt.map { WallTime(seconds: $0).description } ?? "never"
                    try say("\(invite.name)  invited  may expose \(invite.permissions)  expires \(end)")
                }
            } catch let failure as StartFailure { throw fail(failure) }
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

private func openRegistry(_ options: RelayOptions) throws(StartFailure) -> SQLiteRegistry {
    let settings = try options.settings()
    guard DefaultPlace.exists(settings.stateDirectory) else {
        throw StartFailure(
            status: .configuration,
            message:
                "\(settings.stateDirectory) does not exist: no relay has run here yet, or --state-directory names its folder"
        )
    }
    return try StartFailure.configuration { () throws(RegistryError) in
        try SQLiteRegistry(path: "\(settings.stateDirectory)/\(SQLiteRegistry.fileName)")
    }
}
