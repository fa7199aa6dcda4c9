// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Primitives
import RelayServer
import Settings

struct RelayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay", abstract: "Run a relay on this server.",
        discussion: """
            Without a file of settings the defaults hold. A user who may not open port 443 then gets port 4433.
            SIGHUP reads the file anew; SIGTERM lets open connections end first.
            """)

    @OptionGroup var options: RelayOptions
    @OptionGroup var log: LogOptions

    @Option(help: "Where nodes connect, as ADDRESS:PORT; may be given more than once. Default: listen of the settings.")
    var listen: [String] = []

    func run() throws {
        do {
            let settings = try effective()
            let server = try RelayServer(
                settings: settings, output: makeLog(settings.log),
                mayFallBack: listen.isEmpty && options.file == nil,
                reload: { () throws(SettingsError) in try effectiveAgain() })
            throw ExitCode(server.run())
        } catch let failure as StartFailure { throw fail(failure) }
    }

    private func effective() throws(StartFailure) -> RelaySettings {
        var settings = try options.settings()
        log.apply(to: &settings.log)
        guard !listen.isEmpty else { return settings }
        settings.listen = try listen.map { text throws(StartFailure) in
            guard let address = TransportAddress(text), address.port > 0 else {
                throw StartFailure(
                    status: .usage,
                    message: "--listen \(text): expected ADDRESS:PORT, for example 0.0.0.0:443 or [::]:443")
            }
            return address
        }
        return settings
    }

    private func effectiveAgain() throws(SettingsError) -> RelaySettings {
        var settings = try options.load()
        log.apply(to: &settings.log)
        let addresses = listen.compactMap { TransportAddress($0) }
        if !addresses.isEmpty { settings.listen = addresses }
        return settings
    }
}

/// Which relay a command is about.
struct RelayOptions: ParsableArguments {
    @Option(
        name: [.customShort("c", allowingJoined: true), .long],
        help:
            "The relay's settings. Default: relay.toml in /etc/natfwt for root, else in ~/.config/natfwt, if it exists."
    )
    var config: String?

    @Option(
        name: .customLong("state-directory"),
        help: "The folder of the relay's key and registry. Default: state-directory of the settings.")
    var stateDirectory: String?

    /// The file that is read, if any.
    var file: String? { config ?? (DefaultPlace.exists(DefaultPlace.relayFile) ? DefaultPlace.relayFile : nil) }

    func load() throws(SettingsError) -> RelaySettings {
        var settings = try file.map { path throws(SettingsError) in try RelaySettings.load(path: path) } ?? .usual
        if let stateDirectory { settings.stateDirectory = stateDirectory }
        return settings
    }

    func settings() throws(StartFailure) -> RelaySettings {
        try StartFailure.configuration { try load() }
    }
}
