// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The table in Package.swift: a module, and what it may know. Read as text, because a manifest can't be imported.
struct ModuleTable {
    let knows: [String: Set<String>]
    /// The modules in the order of the table: each above everything it names.
    let order: [String]

    init(manifest: String) {
        var knows: [String: Set<String>] = [:]
        var order: [String] = []
        let code = manifest.components(separatedBy: "\n").filter {
            !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//")
        }.joined(separator: "\n")
        if let start = code.range(of: "let modules:"),
            let end = code.range(of: "\n]\n", range: start.upperBound..<code.endIndex)
        {
            let table = code[start.upperBound..<end.lowerBound]
            for match in table.matches(of: /\(\s*"(\w+)",\s*\[([^\]]*)\]\s*\)/) {
                let names = match.2.matches(of: /"(\w+)"/).map { String($0.1) }
                knows[String(match.1)] = Set(names)
                order.append(String(match.1))
            }
        }
        // The program is written out by hand in the manifest: all that it depends on stands in one target.
        if let program = code.firstMatch(of: /executableTarget\(([\s\S]*?)swiftSettings/) {
            knows["natfwt"] = Set(program.1.matches(of: /"(\w+)"/).map { String($0.1) })
        }
        self.knows = knows
        self.order = order
    }

    /// Lines that name a module further down, or none at all: the table would not be a hierarchy.
    var upward: [String] {
        order.enumerated().flatMap { index, module in
            (knows[module] ?? []).filter { name in
                order.firstIndex(of: name).map { $0 >= index } ?? false
            }.map { "\(module) names \($0), which stands above it" }
        }
    }
}
