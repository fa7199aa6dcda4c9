// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Settings

struct PingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping", abstract: "On a node: whether another node is there, over which path, and how far.")

    @Argument(help: "The node's name, its key's fingerprint, or its transport ID.") var node: String
    @Option(name: [.customShort("c", allowingJoined: true), .long], parsing: .unconditional, help: "How often.")
    var count = 4
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do {
            guard let node = NodeText.destination(self.node) else {
                throw StartFailure(status: .usage, message: "\(self.node): expected \(NodeText.expected)")
            }
            guard (1...AgentRequest.mostPings).contains(count) else {
                throw StartFailure(status: .usage, message: "--count takes 1 to \(AgentRequest.mostPings)")
            }
            try AgentRequest.ping(node, count: count).run(agent, lasts: false)
        } catch let failure as StartFailure { throw fail(failure) }
    }
}
