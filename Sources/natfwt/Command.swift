// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Telemetry

@main
struct Command: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "natfwt",
        abstract: "NAT and firewall traversal for any application.",
        discussion: """
            A relay runs on a server; agents run behind NAT and expose services on the relay's ports.
            Begin with "natfwt relay" on the server, "natfwt invite NAME" there, and "natfwt join INVITE" behind NAT.
            """,
        version: "0.1.0",
        subcommands: [
            RelayCommand.self, InviteCommand.self, NodesCommand.self, JoinCommand.self, AgentCommand.self,
            ExposeCommand.self, ServeCommand.self, ForwardCommand.self, RunCommand.self, SOCKSCommand.self,
            AdapterCommand.self, GatewayCommand.self, PingCommand.self, ProvidersCommand.self, ConformanceCommand.self,
            StatusCommand.self,
        ])

    static func main() {
        // A descriptor of 0 to 2 that is closed must not become a socket's.
        StandardDescriptors.fill()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            exit(withError: error)
        }
    }
}
