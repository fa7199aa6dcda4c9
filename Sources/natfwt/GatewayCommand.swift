// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Settings

struct GatewayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gateway",
        abstract: "On a node that is a network's gateway: its hosts reach the other nodes with nothing installed.",
        discussion: """
            The running agent listens until Ctrl-C; it needs CAP_NET_RAW and CAP_NET_BIND_SERVICE. For good: [gateway] in
            its settings. The packets of the hosts come here once the packet filter leads them: deploy/gateway up INTERFACE.
            """)

    @Argument(help: "The port that the packet filter leads to.") var port = GatewaySettings.usualPort
    @Flag(help: "What is for no node goes out through the relay, where that lets this node.") var egress = false
    @Flag(inversion: .prefixedNo, help: "Answer what the hosts ask of DNS servers.") var names = true
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do throws(StartFailure) {
            guard port > 0 else { throw StartFailure(status: .usage, message: "0: expected a port from 1 to 65535") }
            let settings = GatewaySettings(port: port, egress: egress, names: names)
            try AgentRequest.gateway(settings).run(
                agent, started: "taking what the packet filter leads to port \(port); Ctrl-C ends it", lasts: true)
        } catch { throw fail(error) }
    }
}
