// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// What came of one program on one way.
enum MatrixCell: Sendable {
    case passed(Duration)
    case failed(String)
    /// The machine lacks something.
    case skipped(String)
    /// It can't be, by this way's or this program's nature.
    case impossible(String)
}

/// The matrix as it is filled, for people to read.
struct MatrixTable: Sendable {
    private var cells: [String: [String: MatrixCell]] = [:]
    private(set) var ways: [String] = []

    mutating func add(_ cells: [String: MatrixCell], way: String) {
        ways.append(way)
        self.cells[way] = cells
    }

    /// Lines with a column a way, and below them why a cell has no time in it.
    func text(_ programs: [String]) -> String {
        var notes: [String] = []
        func mark(_ text: String) -> String {
            let index = notes.firstIndex(of: text) ?? notes.count
            if index == notes.count { notes.append(text) }
            return "(\(index + 1))"
        }
        let lines = programs.map { program in
            [program]
                + ways.map { way in
                    switch cells[way]?[program] {
                    case .passed(let time): String(format: "%.2f s", time / .seconds(1))
                    case .failed: "FAILED"
                    case .skipped(let lacking): "skipped \(mark("this machine lacks \(lacking)"))"
                    case .impossible(let reason): "no \(mark(reason))"
                    case nil: ""
                    }
                }
        }
        let table = MatrixTable.aligned([["natfwt's ways"] + ways] + lines)
        return (table + notes.enumerated().map { "(\($0 + 1)) \($1)" }).joined(separator: "\n")
    }

    private static func aligned(_ lines: [[String]]) -> [String] {
        let widths = (lines.first ?? []).indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { line in
            zip(line, widths).map { $0.padding(toLength: $1 + 2, withPad: " ", startingAt: 0) }.joined()
        }
    }
}
