// SPDX-License-Identifier: Apache-2.0

import Administration
import Agent
public import ArgumentParser
public import Identity
import Primitives
import Settings

extension PortProtocol: ExpressibleByArgument {}

struct ExposeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "expose", abstract: "Behind NAT: expose one service, in the foreground, without editing a file.",
        discussion: """
            Join a relay first (natfwt join). Only this service is exposed, whatever else the settings expose, until Ctrl-C.
            Not beside a running agent of this node: add an [[expose]] to its settings and reload it (SIGHUP) instead.
            """)

    @Argument(help: "tcp or udp.") var transport: PortProtocol
    @Argument(help: "The service, as HOST:PORT; a port alone means this host.") var service: String
    @Option(help: "The relay's public port; 0 for one that the relay chooses.") var port: UInt16 = 0
    @Option(
        name: .customLong("proxy-protocol"), help: "v2: tell the service the visitor's address in a header. For tcp.")
    var proxyProtocol: String?
    @OptionGroup var options: AgentOptions
    @OptionGroup var log: LogOptions

    func run() throws {
        do {
            let settings = try effective()
            try refuseBesideAgent(settings)
            let agent = try Agent(
                settings: settings, output: makeLog(settings.log), endsWhenRefused: true,
                reload: { () throws(SettingsError) in settings })
            throw ExitCode(agent.run())
        } catch let failure as StartFailure { throw fail(failure) }
    }

    /// Two programs with one key would take the session from each other.
    private func refuseBesideAgent(_ settings: AgentSettings) throws(StartFailure) {
        guard (try? AdministrationClient.ask("status", path: settings.adminSocket)) != nil else { return }
        throw StartFailure(
            status: .unavailable,
            message:
                "an agent of this node is running (\(settings.adminSocket)): stop it first, or add an [[expose]] to "
                + "\(options.file) and reload it (SIGHUP)")
    }

    private func effective() throws(StartFailure) -> AgentSettings {
        var settings = try options.joined()
        log.apply(to: &settings.log)
        let text = service.allSatisfy(\.isNumber) ? "127.0.0.1:\(service)" : service
        guard let target = HostAndPort(text), target.port > 0 else {
            throw StartFailure(status: .usage, message: "\(service): expected HOST:PORT, for example 127.0.0.1:22")
        }
        guard proxyProtocol == nil || proxyProtocol == "v2" && transport == .tcp else {
            throw StartFailure(status: .usage, message: "--proxy-protocol takes v2, and is for tcp")
        }
        settings.expose = [
            Exposure(transport: transport, service: target, port: port, proxyProtocol: proxyProtocol != nil)
        ]
        return settings
    }
}
