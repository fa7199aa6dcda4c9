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
        let words = try PassedCommand(
            command, of: RunCommand.self,
            expected: "which command? For example: natfwt run -- curl http://home.natfwt.internal/"
        ).words
        do throws(StartFailure) {
            guard let program = ProgramFile(words[0]) else {
                complain("error: \(words[0]): no such command")
                Glibc.exit(127)
            }
            let running = RunningCommand(program, words: words.count, means: RedirectionMeans(), onlyWay: way)
            Glibc.exit(try running.run(agent, egress: egress))
        } catch { throw fail(error) }
    }
}
