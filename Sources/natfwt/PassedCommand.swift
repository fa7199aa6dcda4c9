// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser

/// The command that another one is given to start: what stands behind the other's own options, or behind `--`.
struct PassedCommand {
    let words: [String]

    /// - Parameters:
    ///   - captured: what the parser has passed through.
    ///   - command: the command that starts it; `-h` and `--help` are a question to that one as long as no `--` stands before.
    ///   - expected: what to tell a person who names no command.
    init(_ captured: [String], of command: any ParsableCommand.Type, expected: String) throws {
        let isMarked = captured.first == "--"
        words = isMarked ? Array(captured.dropFirst()) : captured
        let option = isMarked ? nil : words.first.flatMap { $0.hasPrefix("-") ? $0 : nil }
        if let option, ["-h", "-help", "--help"].contains(option) { throw CleanExit.helpRequest(command) }
        guard option == nil, !words.isEmpty else {
            let wrong = option.map { "\($0): no such option; " } ?? ""
            throw fail(StartFailure(status: .usage, message: wrong + expected))
        }
    }
}
