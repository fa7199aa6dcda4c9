// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "What the agent or the relay on this host is doing: sessions, ports, and why sessions ended.",
        discussion: "With --json also bytes, datagrams, flows and round-trip times."
    )

    @Flag(help: "One JSON object for each program that answers.") var json = false

    @Option(help: "The admin socket. Default: the agent's and the relay's on this host, whichever runs.")
    var socket: String?

    func run() throws {
        let paths = socket.map { [$0] } ?? DefaultPlace.agentSockets + DefaultPlace.relaySockets
        var failures: [(path: String, error: UVError)] = []
        for path in paths {
            do {
                let answer = try AdministrationClient.ask(json ? "status --json" : "status", path: path)
                try say(answer.hasSuffix("\n") ? String(answer.dropLast()) : answer)
            } catch let error as UVError { failures.append((path, error)) }
        }
        let troubles = failures.filter { !$0.error.isAbsence }.map { StatusCommand.words(for: $0.error, $0.path) }
        guard failures.count == paths.count else {
            // What this user may not ask is not its business, where another one answers.
            for failure in failures where failure.error.isTimeout {
                complain("warning: \(StatusCommand.words(for: failure.error, failure.path))")
            }
            return
        }
        let places = paths.joined(separator: " or ")
        throw fail(
            StartFailure(
                status: .unavailable,
                message: troubles.isEmpty
                    ? "no agent and no relay runs here (nobody listens at \(places)); --socket names another admin-socket"
                    : troubles.joined(separator: "; ")))
    }

    private static func words(for error: UVError, _ path: String) -> String {
        if error.isTimeout { return "\(path): the program does not answer: it is stopped, or hangs" }
        guard error.isPermissionDenied else { return "\(path): \(error.message)" }
        return "\(path): \(error.message): only the program's user\(DefaultPlace.members(of: path)) may ask it"
    }
}
