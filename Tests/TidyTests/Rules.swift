// SPDX-License-Identifier: Apache-2.0

import Foundation

/// What is wrong in a file, and where; empty where nothing is. Each rule is a function from a file, so that its own test
/// can feed it a bad snippet.
enum Rules {
    static func problem(_ file: SourceFile, _ index: Int, _ text: String) -> String {
        "\(file.path):\(index + 1): \(text)"
    }

    // MARK: Architecture

    /// The modules that a file imports, with the line of each.
    static func imports(_ file: SourceFile) -> [(module: String, index: Int)] {
        file.code.enumerated().compactMap { index, line in
            let words = line.split { $0.isWhitespace }.drop { $0.hasPrefix("@") || accessWords.contains(String($0)) }
            guard words.first == "import", var name = words.dropFirst().first else { return nil }
            if kindWords.contains(String(name)), let next = words.dropFirst(2).first { name = next }
            return (String(name.split(separator: ".").first ?? name), index)
        }
    }

    private static let accessWords: Set<String> = ["public", "internal", "package", "fileprivate", "private"]
    private static let kindWords: Set<String> = [
        "struct", "class", "enum", "func", "protocol", "typealias", "let", "var",
    ]
    /// What every module may import without saying so in the table.
    private static let toolchain: Set<String> = ["Swift", "Synchronization", "Glibc"]
    private static let foundation: Set<String> = ["Foundation", "FoundationEssentials", "Dispatch"]

    /// A module imports nothing but what its line of the table names.
    static func importsOutsideTable(_ file: SourceFile, _ table: ModuleTable) -> [String] {
        guard let knows = table.knows[file.module] else {
            return ["\(file.path): the module \(file.module) is not in Package.swift's table"]
        }
        return imports(file).compactMap { name, index in
            if knows.contains(name) || toolchain.contains(name) || foundation.contains(name) { return nil }
            return problem(file, index, "\(file.module) may not know \(name)")
        }
    }

    /// Foundation costs memory and start-up time: only where a parser or the command line brings it anyway.
    static func foundationOutOfPlace(_ file: SourceFile, allowed: Set<String>) -> [String] {
        guard !allowed.contains(file.module) else { return [] }
        return imports(file).filter { foundation.contains($0.module) }.map {
            problem(file, $0.index, "\(file.module) may not use \($0.module)")
        }
    }

    /// C is touched in few modules, and never shown to others.
    static func cModules(_ file: SourceFile, _ allowed: [String: Set<String>]) -> [String] {
        imports(file).flatMap { name, index -> [String] in
            guard let modules = allowed[name] else { return [] }
            var found: [String] = []
            if !modules.contains(file.module) {
                found.append(problem(file, index, "\(file.module) may not use \(name)"))
            }
            if file.code[index].contains("public ") {
                found.append(problem(file, index, "\(name) must not be part of a public interface"))
            }
            return found
        }
    }

    // MARK: Traps

    /// What ends the process on a bad value: `try!`, `as!`, `x!`, `fatalError`.
    static func traps(_ file: SourceFile) -> [String] {
        file.code.enumerated().flatMap { index, line -> [String] in
            var found: [String] = []
            if line.contains("try!") { found.append(problem(file, index, "try!")) }
            if line.contains("as!") { found.append(problem(file, index, "as!")) }
            if line.contains("fatalError(") { found.append(problem(file, index, "fatalError")) }
            if hasForceUnwrap(line) { found.append(problem(file, index, "force unwrap")) }
            return found
        }
    }

    /// A `!` right after a value or a type, that is not the start of `!=`.
    static func hasForceUnwrap(_ line: String) -> Bool {
        let characters = Array(line)
        for (index, character) in characters.enumerated() where character == "!" && index > 0 {
            let before = characters[index - 1]
            guard before.isLetter || before.isNumber || ")]}_`\"".contains(before) else { continue }
            let next = index + 1 < characters.count ? characters[index + 1] : " "
            let word = String(characters[..<index].reversed().prefix { $0.isLetter }.reversed())
            if next != "=" && word != "try" && word != "as" { return true }
        }
        return false
    }

    // MARK: Words

    static func licence(_ file: SourceFile) -> [String] {
        let wanted = "SPDX-License-Identifier: Apache-2.0"
        // A script begins with its interpreter and what it is for, a manifest with the version of the tools.
        let first = file.lines.first ?? ""
        let lines = first.hasPrefix("#!") ? 15 : first.hasPrefix("// swift-tools-version") ? 2 : 1
        return file.lines.prefix(lines).contains { $0.contains(wanted) } ? [] : ["\(file.path):1: no \(wanted)"]
    }

    /// No path of the place where somebody happened to work.
    static func workplaces(_ file: SourceFile) -> [String] {
        let places = ["/" + "work/", "/" + "root/", "/" + "home/runner"]
        return file.lines.enumerated().flatMap { index, line in
            places.filter { line.contains($0) }.map { problem(file, index, "names \($0)") }
        }
    }

    /// Every public type and function says what it is. What a protocol of ours asks for is documented there, an override
    /// where it is first declared, and a property's or an initialiser's comment must say more than its name, or stay away.
    /// - Parameter asked: the names of the functions that protocols of this repository require.
    static func undocumented(_ file: SourceFile, asked: Set<String> = []) -> [String] {
        file.code.indices.filter { index in
            guard let name = publicTypeOrFunction(file.code[index]) else { return false }
            return !asked.contains(name) && !isDocumented(file, at: index)
        }.map {
            problem(file, $0, "no doc comment: \(file.lines[$0].trimmingCharacters(in: .whitespaces))")
        }
    }

    private static let standard: Set<String> = ["==", "<", "~=", "hash", "encode", "RawValue", "next"]
    private static let kinds: Set<Substring> = ["func", "struct", "class", "enum", "protocol", "actor", "typealias"]

    /// The name of the public type or function that a line declares.
    static func publicTypeOrFunction(_ line: String) -> String? {
        let words = line.split { $0.isWhitespace }.drop { $0.hasPrefix("@") }
        guard let first = words.first, first == "public" || first == "open", !words.contains("override"),
            let kind = words.firstIndex(where: { kinds.contains($0) }), kind + 1 < words.endIndex,
            !words[..<kind].contains(where: { ["var", "let", "import", "extension", "case", "init"].contains($0) })
        else { return nil }
        // `class func` is a function.
        let at = words[kind] == "class" && words[kind + 1] == "func" ? kind + 2 : kind + 1
        guard at < words.endIndex else { return nil }
        let name = words[at].prefix { !"(<:{".contains($0) || words[at].first == $0 }
        return standard.contains(String(name)) ? nil : String(name)
    }

    /// The functions that a file's protocols require.
    static func requirements(_ file: SourceFile) -> Set<String> {
        var names: Set<String> = []
        var depth = 0
        var inside = false
        for line in file.code {
            let words = line.split { $0.isWhitespace }
            if depth == 0, words.contains("protocol") { inside = true }
            if inside, depth == 1, let at = words.firstIndex(of: "func"), at + 1 < words.endIndex {
                names.insert(String(words[at + 1].prefix { $0 != "(" && $0 != "<" }))
            }
            depth += line.count { $0 == "{" } - line.count { $0 == "}" }
            if depth == 0 { inside = false }
        }
        return names
    }

    private static func isDocumented(_ file: SourceFile, at index: Int) -> Bool {
        var above = index - 1
        while above >= 0 {
            let line = file.lines[above].trimmingCharacters(in: .whitespaces)
            guard line.hasPrefix("@") || line.hasPrefix("// swift-format-ignore") || line.hasPrefix("#if") else {
                if line.hasPrefix("///") || line.hasSuffix("*/") { return true }
                // One comment may stand over a list of declarations of a line each.
                return file.code[above].contains("public ") && !line.hasSuffix("{") && isDocumented(file, at: above)
            }
            above -= 1
        }
        return false
    }

    /// A test waits for what it needs, and never for time to pass.
    static func sleeps(_ file: SourceFile) -> Int { file.code.count { $0.contains("sleep(") } }
}
