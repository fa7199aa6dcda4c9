// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Settings

@Suite struct KeyLinesTests {
    static let document = #"""
        # comment = 1
        title = "a \" # b = 2"
        dotted.'quoted key'."third" = 1

        [table] # after
        text = """
        inner = 1
        "quotes" and \""" more
        """
        raw = '''
        [not.a.table]
        ''''
        list = [ # one
          1, [2,
          3],
          "x",
        ]
        when = 1979-05-27 07:32:00
        inline = { a = 1, b = { c = [1] } }
        [[many]]
        a = 1
        [[many]]
        a = 2
        [many.sub]
        b = 3
        [[many.deep]]
        c = 4
        """#

    static let expected: [(String, Int)] = [
        (".title", 2), (".dotted", 3), (".dotted .quoted key", 3), (".dotted .quoted key .third", 3), (".table", 5),
        (".table .text", 6), (".table .raw", 10),
        (".table .list", 13), (".table .list #0", 14), (".table .list #1 #1", 15), (".table .list #2", 16),
        (".table .when", 18), (".table .inline .b .c #0", 19), (".many #0", 20), (".many #0 .a", 21),
        (".many #1", 22), (".many #1 .a", 23), (".many #1 .sub .b", 25), (".many #1 .deep #0 .c", 27),
    ]

    @Test(arguments: expected)
    func keyIsOnItsLine(path: String, line: Int) throws {
        // Paths are written with blanks between their parts; ".quoted key" is the one part with a blank in it.
        let parts = path.replacing("quoted key", with: "quoted_key").split(separator: " ")
            .map { String($0).replacing("quoted_key", with: "quoted key") }
        #expect(try KeyLines(Self.document).lines[parts] == line)
    }

    @Test func commentsAndStringsGiveNoKeys() throws {
        let paths = try KeyLines(Self.document).lines.keys
        #expect(!paths.contains([".table", ".inner"]) && !paths.contains([".not", ".a", ".table"]))
        #expect(!paths.contains([".comment"]))
    }

    /// Whatever the text, the walk ends, and the library never sees what would break it.
    @Test func everyTruncationEnds() {
        let bytes = Array(Self.document.utf8)
        for length in 0...bytes.count {
            _ = try? RelaySettings.parse(String(decoding: bytes[..<length], as: UTF8.self), file: "cut")
        }
    }

    @Test(arguments: 0..<20)
    func garbageEnds(seed: UInt64) {
        var generator = SplitMix64(state: seed)
        let alphabet = Array("[]{}=.,\"'\\#\n\r\t a1-_é".unicodeScalars)
        for _ in 0..<200 {
            var text = ""
            for _ in 0..<Int.random(in: 0...60, using: &generator) {
                text.unicodeScalars.append(alphabet[Int.random(in: 0..<alphabet.count, using: &generator)])
            }
            _ = try? RelaySettings.parse(text, file: "garbage")
        }
    }

    /// Each is nested or dotted a hundred thousand levels deep, some with a syntax error at the end: the library alone
    /// would overflow the stack while it takes such a tree apart.
    /// Documents of all the shapes that TOML 1.0 has: none may be refused.
    @Test(arguments: [
        "a = 1", "a=1#x", "  a\t=\t1  ", "'' = 1", "\"\\u00e9\" = 1", "a . b = 1", "1.2 = 3", "-_ = +inf", "a = nan",
        "a = 0xDEAD_beef", "a = 1e6", "a = 1979-05-27T07:32:00.5-07:00", "a = 07:32:00", "a = []", "a = {}",
        "a = [ 1, 2, ] # x", "a = [\n# x\n1 # y\n, # z\n2\n]", "a = [[], [{b = []}]]", "a = {b.c = 1, 'd' = {}}",
        "[ a . 'b' ]\n[a]", "[[a]]\n[[a.b]]\n[a.b.c]", "a = \"\\\\\"", "a = '\\'", "a = \"\"\"\"\"\"", "a = ''''x''''",
        "a = \"\"\"\\\n   x\"\"\"", "a = \"\"\"\"\"x\"\"\"\"\"", "a = 'é'\r\nb = 2\r\n", "a = true\n\n\n", "# é\na = 1",
    ])
    func validDocumentIsTaken(text: String) throws { _ = try TOMLDocument.parse(text, file: "valid") }

    @Test(arguments: [
        ("", "a.", "a = 1"), ("", "a.", "a = 1\n= 1"), ("a = ", "[", ""), ("a = ", "{a=", ""), ("[", "a.", "a]\nx = 1"),
    ])
    func deepNestingIsRefused(before: String, level: String, after: String) {
        let text = before + String(repeating: level, count: 100_000) + after
        let error = #expect(throws: SettingsError.self) { try RelaySettings.parse(text, file: "r") }
        #expect(error?.problems.map(\.message) == ["nested deeper than 32 levels"])
    }
}

/// A small seeded generator.
private struct SplitMix64: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
