// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Identity
import Registry

extension NodesCommand {
    struct Allow: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change what a node may do. The running relay knows within a second.",
            discussion: """
                What is not said stays as it is. Ports that the node has exposed already stay open until it connects anew; \
                connections through the relay, to other hosts and to other nodes, end when they are no longer allowed.
                """)

        @OptionGroup var options: RelayOptions
        @Argument(help: "The name of a node, or of an open invite.") var name: String

        @Option(help: "What the node may expose from now on, as tcp:20000-20100; may be given more than once.")
        var expose: [String] = []

        @Flag(inversion: .prefixedNo, help: "Whether the node may go out to other hosts through the relay.")
        var egress: Bool?

        @OptionGroup var reach: ReachOptions

        func run() throws {
            do {
                let name = try StartFailure.usage { () throws(NodeNameError) in try NodeName(self.name) }
                let rules = try portRules(expose)
                let reach = try reach.chosen()
                guard !rules.isEmpty || egress != nil || reach != nil else {
                    throw StartFailure(
                        status: .usage,
                        message: "nothing to change: say --expose, --egress, --no-egress, --reach or --no-reach")
                }
                let registry = try openRegistry(options)
                let permissions = try StartFailure.configuration { () throws(RegistryError) in
                    try registry.changePermissions(of: name) { permissions in
                        if !rules.isEmpty { permissions.expose = rules }
                        if let egress { permissions.egress = egress }
                        if let reach { permissions.reach = reach }
                    }
                }
                let hints = PermissionHints(settings: try options.settings(), file: options.file)
                try StartFailure.configuration { () throws(RegistryError) in
                    try hints.tell(expose: rules, egress: egress == true, reach, registry)
                }
                try say("\(name)  \(permissions.inWords)")
            } catch let failure as StartFailure { throw fail(failure) }
        }
    }
}

extension Permissions {
    /// What `natfwt nodes list` says of them.
    var inWords: String {
        "may expose \(exposable)" + (reach == .all ? "" : ", reach \(reach.inWords)")
            + (egress ? " and go out through the relay" : "")
    }
}
