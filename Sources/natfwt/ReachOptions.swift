// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Identity

/// Which other nodes a node may connect to.
struct ReachOptions: ParsableArguments {
    @Option(
        help: """
            A node that this one may connect to, where that one serves it something; may be given more than once, and the \
            others are forbidden. '*' for all, as it is in the beginning.
            """)
    var reach: [String] = []

    @Flag(help: "The node may connect to no other node.")
    var noReach = false

    /// - Returns: nil where nothing was said.
    func chosen() throws(StartFailure) -> NodeReach? {
        guard !noReach else {
            guard reach.isEmpty else {
                throw StartFailure(status: .usage, message: "--reach and --no-reach contradict each other")
            }
            return .only([])
        }
        guard !reach.isEmpty else { return nil }
        guard reach != ["*"] else { return .all }
        var names: Set<NodeName> = []
        for text in reach {
            names.insert(
                try StartFailure.usage { () throws(NodeNameError) in try NodeName(text) })
        }
        return .only(names)
    }
}
