// SPDX-License-Identifier: Apache-2.0

import Administration
import Agent
import ArgumentParser
import Settings

struct AgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent", abstract: "Behind NAT: run the agent, which exposes services at its relay.",
        discussion: "SIGHUP reads the settings anew; SIGTERM lets open connections end first.")

    @OptionGroup var options: AgentOptions
    @OptionGroup var log: LogOptions

    func run() throws {
        do {
            var settings = try options.joined()
            log.apply(to: &settings.log)
            let agent = try Agent(settings: settings, output: makeLog(settings.log), reload: load)
            throw ExitCode(agent.run())
        } catch let failure as StartFailure { throw fail(failure) }
    }

    private func load() throws(SettingsError) -> AgentSettings {
        var settings = try AgentSettings.load(path: options.file)
        log.apply(to: &settings.log)
        return settings
    }
}

/// Which agent a command is about.
struct AgentOptions: ParsableArguments {
    @Option(
        name: [.customShort("c", allowingJoined: true), .long],
        help: "The agent's settings. Default: agent.toml in /etc/natfwt for root, else in ~/.config/natfwt.")
    var config: String?

    var file: String { config ?? DefaultPlace.agentFile }

    /// The settings, with a word on how to get some where there are none.
    func joined() throws(StartFailure) -> AgentSettings {
        guard config != nil || DefaultPlace.exists(file) else {
            throw StartFailure(
                status: .configuration,
                message: "\(file) does not exist: join a relay first (natfwt join INVITE), or name a file with --config"
            )
        }
        return try StartFailure.configuration { try AgentSettings.load(path: file) }
    }
}
