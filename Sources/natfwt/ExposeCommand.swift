// SPDX-License-Identifier: Apache-2.0

import Administration
import Agent
public import ArgumentParser
import Primitives
public import Settings

extension Settings.Transport: ExpressibleByArgument {}

struct ExposeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "expose", abstract: "Behind NAT: expose one service, in the foreground, without editing a file.",
        discussion: "What the settings expose is left alone; an agent of this node that runs already is replaced.")

    @Argument(help: "tcp or udp.") var transport: Settings.Transport
    @Argument(help: "The service, as HOST:PORT; a port alone means this host.") var service: String
    @Option(help: "The relay's public port. Default: one that the relay chooses.") var port: UInt16 = 0
    @Option(name: .customLong("proxy-protocol"), help: "v2: tell the service the visitor's address (tcp).")
    var proxyProtocol: String?
    @OptionGroup var options: AgentOptions
    @OptionGroup var log: LogOptions

    func run() throws {
        do {
            let settings = try effective()
            let agent = try Agent(
                settings: settings, output: makeLog(settings.log), endsWhenRefused: true,
                reload: { () throws(SettingsError) in settings })
            throw ExitCode(agent.run())
        } catch let failure as StartFailure { throw fail(failure) }
    }

    private func effective() throws(StartFailure) -> AgentSettings {
        var settings = try StartFailure.configuration { try AgentSettings.load(path: options.file) }
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
