// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Settings

struct ForwardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forward", abstract: "On a node: lead a port of this host to a service of another node.",
        usage: """
            natfwt forward [BIND:]PORT NODE:PORT
            natfwt forward [BIND:]PORT:NODE:PORT
            """,
        discussion: """
            The running agent listens until Ctrl-C. For good: a [[forward]] in its settings.
            Without BIND on both loopback addresses; "*" stands for every address of this host. NODE is a node's name, its key's \
            fingerprint, or its transport ID in brackets. The node must serve the port to this one (natfwt serve).
            """)

    @Argument(help: "Where to listen, or all of it as ssh -L takes it.") var listen: String
    @Argument(help: "The node and the port there, as home:5432.") var target: String?
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do {
            let forward = try forward()
            let places = forward.listen.map(\.description).joined(separator: " and ")
            try AgentRequest.forward(forward).run(
                agent, started: "listening on \(places) for \(forward.target); Ctrl-C ends it", lasts: true)
        } catch { throw fail(error) }
    }

    private func forward() throws(StartFailure) -> Forward {
        if let target {
            return try StartFailure.usage { () throws(ForwardError) in try Forward(listen: listen, target: target) }
        }
        return try StartFailure.usage { () throws(ForwardError) in try Forward(sshStyle: listen) }
    }
}
