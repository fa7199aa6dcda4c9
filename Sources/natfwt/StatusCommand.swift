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
        let paths = socket.map { [$0] } ?? ["agent", "relay"].map { "\(DefaultPlace.sockets)/\($0).sock" }
        var failures: [String] = []
        var answered = false
        for path in paths {
            do {
                let answer = try AdministrationClient.ask(json ? "status --json" : "status", path: path)
                try say(answer.hasSuffix("\n") ? String(answer.dropLast()) : answer)
                answered = true
            } catch let error as UVError { failures.append("\(path): \(error.message)") }
        }
        guard answered else {
            throw fail(
                StartFailure(
                    status: .unavailable,
                    message:
                        "no agent and no relay answers (\(failures.joined(separator: "; "))); --socket names another admin-socket"
                ))
        }
    }
}
