// SPDX-License-Identifier: Apache-2.0

import Administration
public import ArgumentParser
import Glibc
public import Settings
import Telemetry

/// Where things are without a word on the command line: the system's folders for root, the user's own for everyone else.
enum DefaultPlace {
    static var isRoot: Bool { geteuid() == 0 }

    /// The folder of relay.toml, agent.toml and node.key.
    static var configuration: String { isRoot ? "/etc/natfwt" : "\(home)/.config/natfwt" }
    static var state: String { isRoot ? "/var/lib/natfwt" : "\(home)/.local/state/natfwt" }
    static var sockets: String { isRoot ? "/run/natfwt" : "\(environment("XDG_RUNTIME_DIR") ?? state)/natfwt" }
    static var relayFile: String { "\(configuration)/relay.toml" }
    /// The one that is there: root's may be in the folder of the systemd unit.
    static var agentFile: String {
        let usual = "\(configuration)/agent.toml"
        let unit = "/var/lib/natfwt-agent/agent.toml"
        return isRoot && !exists(usual) && exists(unit) ? unit : usual
    }

    /// Where an agent may listen: the user's own, as its settings say where they can be read, and the system's.
    static var agentSockets: [String] {
        let file = agentFile
        let own = exists(file) ? (try? AgentSettings.load(path: file))?.adminSocket : nil
        return own.both("\(sockets)/agent.sock", or: AgentSettings().adminSocket)
    }

    /// Where a relay may listen, in the same way.
    static var relaySockets: [String] {
        let own = exists(relayFile) ? (try? RelaySettings.load(path: relayFile))?.adminSocket : nil
        return own.both("\(sockets)/relay.sock", or: RelaySettings().adminSocket)
    }

    /// The group of a file, in words that go on after "the user"; nothing where it can't be told.
    static func members(of path: String) -> String {
        var status = stat()
        guard unsafe stat(path, &status) == 0, let group = unsafe getgrgid(status.st_gid)?.pointee.gr_name else {
            return ""
        }
        return unsafe " and the members of the group \(String(cString: group))"
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    private static var home: String { environment("HOME") ?? "/tmp" }

    static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }
}

extension String? {
    /// This or the usual place, and the system's, unless they are one.
    fileprivate func both(_ usual: String, or system: String) -> [String] {
        let own = self ?? usual
        return own == system ? [own] : [own, system]
    }
}

extension RelaySettings {
    /// The defaults where the user is not root.
    static var usual: RelaySettings {
        var settings = RelaySettings()
        if !DefaultPlace.isRoot {
            settings.stateDirectory = DefaultPlace.state
            settings.adminSocket = "\(DefaultPlace.sockets)/relay.sock"
        }
        return settings
    }
}

/// Ends the program with a status and a message on standard error.
func fail(_ failure: StartFailure) -> any Error {
    complain("error: \(failure.message)")
    return ExitCode(failure.status.rawValue)
}

/// A line on standard error.
func complain(_ line: String) {
    let bytes = Array("natfwt: \(line)\n".utf8)
    _ = unsafe write(STDERR_FILENO, bytes, bytes.count)
}

/// Nobody reads what is written any more (`| head`): ends as any program does there, by the signal that the event loop has
/// ignored for the sake of its sockets.
private func endAsByPipe() -> Never {
    _ = signal(SIGPIPE, SIG_DFL)
    _ = raise(SIGPIPE)
    Glibc.exit(128 + SIGPIPE)
}

/// A line on standard output.
func say(_ line: String) throws {
    let bytes = Array("\(line)\n".utf8)
    var rest = bytes[...]
    while !rest.isEmpty {
        let count = unsafe rest.withUnsafeBytes { unsafe write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        if count < 0, errno == EPIPE { endAsByPipe() }
        guard count > 0 else {
            throw fail(StartFailure(status: .unavailable, message: "can't write to standard output"))
        }
        rest = rest.dropFirst(count)
    }
}

/// The options about the log, which take the place of what the file says.
struct LogOptions: ParsableArguments {
    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error or critical.")
    var level: LogSettings.Level?

    @Option(name: .customLong("log-format"), help: "text or json.")
    var format: LogSettings.Format?

    func apply(to settings: inout LogSettings) {
        if let level { settings.level = level }
        if let format { settings.format = format }
    }
}

extension LogSettings.Level: ExpressibleByArgument {}
extension LogSettings.Format: ExpressibleByArgument {}

/// The log of the process, as the settings want it.
func makeLog(_ settings: LogSettings) -> LogOutput {
    let output = LogOutput()
    output.apply(settings)
    output.bootstrap()
    return output
}
