// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Glibc

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "On a node: run a command whose connections lead to the other nodes.",
        usage: "natfwt run [--egress] [--way kernel|preload] [--] COMMAND [ARGUMENT]...",
        discussion: """
            The command and its children reach NODE.natfwt.internal, with TCP and UDP, as if it were near; all else goes where \
            it would; not with programs that take more rights than their user's (setuid). Its exit status is the command's.

            Sockets are redirected by the kernel where that can be had (for root); otherwise by a library that is loaded \
            into the command, which does not work for static programs and those of Go. --way has the one or the other.
            """)

    @Flag(help: "Lead everything out through the relay, except what stays on this host and its network.")
    var egress = false
    @Option(help: "kernel or preload: how sockets are redirected.") var way: RedirectionWay?
    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.") var command: [String] = []
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do throws(StartFailure) {
            let words = command.first == "--" ? Array(command.dropFirst()) : command
            guard let name = words.first, words.count < command.count || !name.hasPrefix("-") else {
                let wrong = words.first.map { "\($0): no such option; " } ?? ""
                throw StartFailure(
                    status: .usage,
                    message: "\(wrong)which command? For example: natfwt run -- curl http://home.natfwt.internal/")
            }
            guard let program = ProgramFile(name) else {
                complain("error: \(name): no such command")
                Glibc.exit(127)
            }
            let running = RunningCommand(program, words: words.count, means: RedirectionMeans(), onlyWay: way)
            Glibc.exit(try running.run(agent.path, egress: egress))
        } catch { throw fail(error) }
    }
}
