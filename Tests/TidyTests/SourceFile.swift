// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A file of the repository as the tidy tests read it: as it is, and as code alone, without comments and strings.
struct SourceFile {
    /// The path from the top of the repository.
    let path: String
    let text: String
    /// The lines as they are; line n is `lines[n - 1]`.
    let lines: [String]
    /// The same lines with comments and the insides of string literals blanked out.
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        self.text = text
        lines = text.components(separatedBy: "\n")
        var blanking = Blanking(text)
        code = blanking.run().components(separatedBy: "\n")
    }

    /// The module that the file belongs to: the folder after Sources or Tests.
    var module: String {
        let parts = path.split(separator: "/")
        return parts.count > 2 ? String(parts[1]) : ""
    }

    /// How many lines it has, the last line's end not counted.
    var length: Int { text.hasSuffix("\n") ? lines.count - 1 : lines.count }
}

/// Replaces comments and the insides of strings with spaces, and keeps every line's end, so that line numbers hold.
private struct Blanking {
    private let input: [Character]
    private var output: [Character] = []
    private var index = 0

    init(_ text: String) {
        input = Array(text)
        output.reserveCapacity(input.count)
    }

    mutating func run() -> String {
        while index < input.count {
            if starts("//") {
                blankLine()
            } else if starts("/*") {
                blankComment()
            } else if let hashes = stringStart() {
                blankString(hashes: hashes)
            } else {
                output.append(input[index])
                index += 1
            }
        }
        return String(output)
    }

    private func starts(_ prefix: String, at offset: Int = 0) -> Bool {
        var position = index + offset
        for character in prefix {
            guard position < input.count, input[position] == character else { return false }
            position += 1
        }
        return true
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where index < input.count {
            output.append(input[index].isNewline ? input[index] : " ")
            index += 1
        }
    }

    private mutating func blankLine() {
        while index < input.count, !input[index].isNewline { blank() }
    }

    private mutating func blankComment() {
        var depth = 0
        repeat {
            if starts("/*") {
                depth += 1
                blank(2)
            } else if starts("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && index < input.count
    }

    /// How many `#` stand before a string's quote here; nil where no string starts.
    private func stringStart() -> Int? {
        var hashes = 0
        while starts("#", at: hashes) { hashes += 1 }
        return starts("\"", at: hashes) ? hashes : nil
    }

    private mutating func blankString(hashes: Int) {
        let fence = String(repeating: "#", count: hashes)
        let quote = starts(fence + "\"\"\"") ? "\"\"\"" : "\""
        // The quotes stay, so that `"a"!` is still seen as a value.
        keep(hashes + quote.count)
        while index < input.count, !starts(quote + fence) {
            if quote == "\"", input[index].isNewline { return }
            blank(starts("\\" + fence) ? 2 + hashes : 1)
        }
        keep(hashes + quote.count)
    }

    private mutating func keep(_ count: Int) {
        for _ in 0..<count where index < input.count {
            output.append(input[index])
            index += 1
        }
    }
}
