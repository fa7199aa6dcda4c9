// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Identity
import Settings

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "On a node: let other nodes reach services of this host.",
        usage: "natfwt serve tcp|udp PORT... --to NODE... [--host HOST]",
        discussion: """
            The running agent lets them in until Ctrl-C. For good: a [[serve]] in its settings.
            NODE is a node's name, its key's fingerprint or its transport ID; '*' stands for every node of this relay.
            """)

    @Argument(help: "tcp or udp.") var transport: PortProtocol
    @Argument(help: "Ports, as 22 or 8000-8010.") var ports: [String]
    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Who may reach them; more than one may be named.", valueName: "node"))
    var to: [String] = []
    @Option(help: "Where the services listen, seen from the agent.") var host = Serve.usualHost
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do {
            let serve = try StartFailure.usage { () throws(ServeError) in
                try Serve(transport: transport, ports: ports, to: to, host: host)
            }
            let served = serve.ports.map { "\(transport.rawValue):\(PortText.text($0))" }.joined(separator: ", ")
            let nodes = serve.to == [NodeText.everyNode] ? "every node" : serve.to.joined(separator: ", ")
            try AgentRequest.serve(serve).run(
                agent, started: "\(served) of \(serve.host) is served to \(nodes); Ctrl-C ends it", lasts: true)
        } catch { throw fail(error) }
    }
}
