// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Glibc

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "On a node: run a command whose connections lead to the other nodes.",
        usage: "natfwt run [--egress] [--] COMMAND [ARGUMENT]...",
        discussion: """
            The command and its children reach NODE.natfwt.internal, with TCP and UDP, as if it were near; all else goes where \
            it would. It works for what is linked dynamically: not for static programs and Go programs, nor for those that \
            take more rights than their user's (setuid). Its exit status is the command's.
            """)

    @Flag(help: "Lead everything out through the relay, except what stays on this host and its network.")
    var egress = false
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
            let library = try InterposerLibrary.path()
            guard let program = ProgramFile(name) else {
                complain("error: \(name): no such command")
                Glibc.exit(127)
            }
            if let warning = program.warning { complain("warning: \(name) \(warning)") }
            let running = RunningCommand(path: program.path, words: words.count, library: library)
            Glibc.exit(try running.run(agent.path, egress: egress))
        } catch { throw fail(error) }
    }
}

/// The library that is loaded into the command.
private enum InterposerLibrary {
    private static let name = "libnatfwt-run.so"

    /// Beside this program, or where it is installed.
    static func path() throws(StartFailure) -> String {
        let folder = ProgramFile.folder(of: "/proc/self/exe")
        let places = folder.map { ["\($0)/\(name)", "\($0)/../lib/natfwt/\(name)"] } ?? []
        let path = (places + ["/usr/local/lib/natfwt/\(name)", "/usr/lib/natfwt/\(name)"]).first(
            where: DefaultPlace.exists)
        guard let path else {
            throw StartFailure(
                status: .unavailable,
                message: "\(name) is missing: it belongs beside natfwt, or into /usr/local/lib/natfwt (deploy/install)")
        }
        // The loader takes both for the end of a path.
        guard !path.contains(" "), !path.contains(":") else {
            throw StartFailure(
                status: .unavailable, message: "\(path): the loader takes no library whose path has a space or a colon")
        }
        return path
    }
}
