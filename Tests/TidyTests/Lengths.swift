// SPDX-License-Identifier: Apache-2.0

/// Functions and how many lines each has, from its first line to its closing brace.
enum Lengths {
    struct Function: Equatable {
        let name: String
        /// The line of the declaration, from 1.
        let line: Int
        let length: Int
    }

    static func functions(_ file: SourceFile) -> [Function] {
        file.code.indices.compactMap { index in
            guard let name = declaration(file.code[index]), let end = bodyEnd(file.code, from: index) else {
                return nil
            }
            return Function(name: name, line: index + 1, length: end - index + 1)
        }
    }

    /// The name of the function, initialiser or deinitialiser that a line declares.
    private static func declaration(_ line: String) -> String? {
        let modifiers: Set<Substring> = [
            "public", "private", "internal", "fileprivate", "package", "open", "static", "class", "final", "override",
            "mutating", "nonmutating", "borrowing", "consuming", "convenience", "required", "nonisolated", "prefix",
            "postfix", "infix", "unsafe",
        ]
        let words = line.split { $0.isWhitespace }.drop { $0.hasPrefix("@") || modifiers.contains($0) }
        guard let first = words.first else { return nil }
        if first == "func" { return words.dropFirst().first.map { String($0.prefix { $0 != "(" && $0 != "<" }) } }
        if first == "deinit" { return "deinit" }
        if first.hasPrefix("init(") || first.hasPrefix("init?(") || first.hasPrefix("init<") { return "init" }
        return nil
    }

    private static let declarations = ["func ", "var ", "let ", "init(", "case ", "static ", "associatedtype "]

    /// The index of the line with the brace that closes the body; nil where there is none (a protocol's requirement).
    private static func bodyEnd(_ code: [String], from start: Int) -> Int? {
        var parentheses = 0
        var braces = 0
        for index in start..<code.count {
            let line = code[index].drop { $0 == " " }
            if index > start, braces == 0, parentheses == 0, declarations.contains(where: { line.hasPrefix($0) }) {
                return nil
            }
            for character in line {
                switch character {
                case "(": parentheses += 1
                case ")": parentheses -= 1
                case "{" where parentheses == 0 || braces > 0: braces += 1
                case "}" where braces == 0 && parentheses == 0: return nil
                case "}" where braces > 0:
                    braces -= 1
                    if braces == 0 { return index }
                default: break
                }
            }
        }
        return nil
    }
}

/// A limit, and what is over it already: nothing new may pass the limit, and what is over it may only shrink.
struct Ratchet {
    let limit: Int
    let known: [String: Int]
    var unit = "lines"

    /// What is wrong with these measurements (name, size).
    func problems(_ measured: [(name: String, size: Int)]) -> [String] {
        var found: [String] = []
        for (name, size) in measured {
            let allowed = known[name] ?? limit
            if size > allowed { found.append("\(name): \(size) \(unit), at most \(allowed)") }
            if let recorded = known[name], size < recorded {
                found.append("\(name): only \(size) \(unit) by now: lower the recorded \(recorded)")
            }
        }
        let names = Set(measured.map(\.name))
        return found + known.keys.filter { !names.contains($0) }.sorted().map { "\($0) is gone: strike it off" }
    }
}
