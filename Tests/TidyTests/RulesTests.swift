// SPDX-License-Identifier: Apache-2.0

import Testing

/// Each rule on a small bad snippet: a rule that can't fail proves nothing.
@Suite("Tidy rules")
struct RulesTests {
    private func source(_ text: String, _ path: String = "Sources/Tunneling/Bad.swift") -> SourceFile {
        SourceFile(path: path, text: text)
    }

    private let table = ModuleTable(
        manifest: """
            /// Words (name, knows) that are no line: ("Comment", ["X"])
            let modules: [(name: String, knows: [String])] = [
                // Ground
                ("Primitives", []),
                ("Tunneling", ["Primitives"]),
                (
                    "Agent",
                    [
                        "Primitives", "Tunneling",
                        "Logging",
                    ]
                ),
            ]

            .executableTarget(name: "natfwt", dependencies: ["Agent"].map(dependency), swiftSettings: x)
            """)

    @Test func theTableIsRead() {
        #expect(table.order == ["Primitives", "Tunneling", "Agent"])
        #expect(table.knows["Agent"] == ["Primitives", "Tunneling", "Logging"])
        #expect(table.knows["Primitives"] == [])
        #expect(table.knows["natfwt"]?.contains("Agent") == true)
        #expect(table.upward.isEmpty)
        let bad = ModuleTable(manifest: "let modules: X = [\n(\"Low\", [\"High\"]),\n(\"High\", []),\n]\n")
        #expect(bad.upward.count == 1)
    }

    @Test(arguments: [
        "import Agent", "public import Agent", "internal import EventLoop", "@testable import Agent",
        "import struct Agent.Thing",
    ])
    func importsOutsideTheTable(_ line: String) {
        #expect(Rules.importsOutsideTable(source(line), table).count == 1)
        #expect(Rules.importsOutsideTable(source(line, "Sources/Nowhere/Bad.swift"), table).count == 1)
    }

    @Test(arguments: [
        "public import Primitives", "// import Agent", "let text = \"import Agent\"", "import Synchronization",
    ])
    func importsInsideTheTable(_ line: String) {
        #expect(Rules.importsOutsideTable(source(line), table).isEmpty)
    }

    @Test func foundationAndC() {
        #expect(Rules.foundationOutOfPlace(source("import Foundation"), allowed: ["Settings"]).count == 1)
        #expect(Rules.foundationOutOfPlace(source("import Foundation"), allowed: ["Tunneling"]).isEmpty)
        #expect(Rules.cModules(source("internal import CUV"), ["CUV": ["EventLoop"]]).count == 1)
        #expect(Rules.cModules(source("internal import CUV"), ["CUV": ["Tunneling"]]).isEmpty)
        #expect(Rules.cModules(source("public import CUV"), ["CUV": ["Tunneling"]]).count == 1)
    }

    @Test(arguments: [
        "let a = b!", "let a = f()!.c", "let a = b[0]!", "try! f()", "let a = b as! C", "fatalError(\"x\")",
        "var a: B!",
        "\"text\"! + a", "if !a, b! { }",
    ])
    func traps(_ line: String) { #expect(Rules.traps(source(line)).count == 1, "\(line)") }

    @Test(arguments: [
        "if !a { }", "a != b", "try? f()", "// never use x!", "let a = \"stop!\"", "let a = \"\"\"\n  b!\n  \"\"\"",
        "/* a! /* b! */ c! */", "guard !(a || !b) else { return }", "let a = #\"\"quoted\"!\"#",
    ])
    func noTraps(_ line: String) { #expect(Rules.traps(source(line)).isEmpty, "\(line)") }

    @Test func blankingKeepsLines() {
        let file = source("let a = \"\"\"\n  x\n  \"\"\" // c\nlet b = \"q\\\"r\" + d /* e\n f */ + g\n")
        #expect(file.code.count == file.lines.count)
        #expect(file.code[3].contains("+ d"))
        #expect(file.code[4].hasSuffix("+ g"))
        #expect(!file.code.joined().contains("x"))
    }

    @Test func functionLengths() {
        let file = source(
            """
            protocol P {
                func required(a: Int) -> Int
                func other()
            }
            struct S {
                public func short(_ body: (Int) -> Void = { _ in }) { body(1) }
                init(
                    a: Int
                ) {
                    if a > 1 { print("}") }
                }
                private static func long<T>(x: T)
                    where T: P {
                    // }
                }
                deinit { }
            }
            """)
        let found = Lengths.functions(file)
        #expect(found.map(\.name) == ["short", "init", "long", "deinit"])
        #expect(found.map(\.length) == [1, 5, 4, 1])
    }

    @Test func ratchets() {
        let ratchet = Ratchet(limit: 10, known: ["old": 20])
        #expect(ratchet.problems([("new", 10), ("old", 20)]).isEmpty)
        #expect(ratchet.problems([("new", 11), ("old", 20)]).count == 1)
        #expect(ratchet.problems([("old", 21)]).count == 1)
        #expect(ratchet.problems([("old", 19)]).count == 1, "what shrank stays shrunk")
        #expect(ratchet.problems([]).count == 1, "what is gone is struck off")
    }

    @Test func licences() {
        let line = "SPDX-License-Identifier: Apache-2.0"
        #expect(Rules.licence(source("// \(line)\n")).isEmpty)
        #expect(Rules.licence(source("// swift-tools-version: 6.2\n// \(line)\n")).isEmpty)
        #expect(Rules.licence(source("#!/bin/sh\n# \(line)\n")).isEmpty)
        #expect(Rules.licence(source("import A\n// \(line)\n")).count == 1)
        #expect(Rules.licence(source("#!/bin/sh\n# What it does.\n# \(line)\n")).isEmpty)
        #expect(Rules.licence(source("")).count == 1)
    }

    @Test func workplaces() {
        #expect(Rules.workplaces(source("let a = \"/" + "work/main\"")).count == 1)
        #expect(Rules.workplaces(source("// /" + "root/x")).count == 1)
        #expect(Rules.workplaces(source("let a = \"/network/x\"")).isEmpty)
    }

    @Test(arguments: [
        "public func f() {}", "public static func f<T>(_ x: T) {}", "public final class C {}",
        "public class func f() {}",
        "@inlinable public func g() {}", "/// One.\npublic func a() {}\n\npublic func b() {}",
        "// plain\npublic struct S {}", "  public enum E: Error {", "public protocol P {}",
    ])
    func undocumented(_ text: String) { #expect(Rules.undocumented(source(text)).count == 1, "\(text)") }

    @Test(arguments: [
        "/// Says.\npublic func f() {}", "/// Says.\n@inlinable\npublic func f() {}", "public import Primitives",
        "public var description: String { \"\" }", "func hidden() {}", "/** Says. */\npublic func a() {}",
        "public extension A {}", "/// All of them.\npublic func a() {}\npublic func b() {}", "public let a = 1",
        "public override func f() {}", "public static func == (a: A, b: A) -> Bool { true }",
        "public import struct A.B",
        "public func required(x: Int) {}",
    ])
    func documented(_ text: String) { #expect(Rules.undocumented(source(text), asked: ["required"]).isEmpty) }

    @Test func requirementsOfProtocols() {
        let text = """
            public protocol P: Sendable {
                /// Says.
                func required(x: Int)
                static func made<T>() -> T
            }
            struct S { func own() {} }
            extension P { func helped() {} }
            """
        #expect(Rules.requirements(source(text)) == ["required", "made"])
    }

    @Test func sleeps() {
        #expect(Rules.sleeps(source("Thread.sleep(forTimeInterval: 1)\nusleep(1)")) == 2)
        #expect(Rules.sleeps(source("try await until(\"x\") { y } // sleep(1)")) == 0)
    }
}
