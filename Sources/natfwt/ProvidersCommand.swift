// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop

struct ProvidersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "providers",
        abstract: "The programs that carry this node's traffic, and why the sessions of earlier ones ended.",
        discussion: "A provider is a program that links libcpnatfwt: see cpnatfwt.h.")

    @Flag(help: "One JSON object.") var json = false
    @OptionGroup var agent: AgentSocket

    func run() throws {
        let path = agent.path
        do {
            let answer = try AdministrationClient.ask(json ? "providers --json" : "providers", path: path)
            try say(answer.hasSuffix("\n") ? String(answer.dropLast()) : answer)
        } catch let error as UVError {
            throw fail(StartFailure(status: .unavailable, message: "\(path): no agent answers: \(error.message)"))
        }
    }
}
