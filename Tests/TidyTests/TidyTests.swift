// SPDX-License-Identifier: Apache-2.0

import Testing

/// The architecture and the style of the repository as assertions. To see what a rule means, read `RulesTests`.
@Suite("Tidy")
struct TidyTests {
    let table = ModuleTable(manifest: Repository.manifest?.text ?? "")

    /// Functions that were longer than the limit when the rule came, with their length: they may only shrink.
    let functions = Ratchet(limit: 70, known: [:])
    /// Public types and functions without a doc comment, by module: no more of them may come.
    let undocumented = Ratchet(
        limit: 0,
        known: [
            "Primitives": 6, "Registry": 1, "Tunneling": 4, "Proxying": 1, "Cryptography": 3,
            "ConnectivityPlatform": 3,
        ], unit: "undocumented declarations")
    /// Tests in which time itself is what is tested.
    let sleeping = Ratchet(
        limit: 0,
        known: ["Tests/EventLoopTests/EventLoopTests.swift": 1, "Tests/RegistryTests/RaceTests.swift": 1],
        unit: "sleeps")
    let sourceLengths = Ratchet(limit: 500, known: [:])
    let testLengths = Ratchet(limit: 600, known: [:])

    private func expectNone(_ problems: [String], sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(problems.isEmpty, "\n\(problems.joined(separator: "\n"))", sourceLocation: sourceLocation)
    }

    @Test("the files were found at all")
    func found() {
        #expect(table.order.count >= 15, "\(table.order)")
        let modules = Set(Repository.sources.map(\.module))
        #expect(Set(table.knows.keys).subtracting(modules).isEmpty, "a module of the table has no file")
        #expect(Repository.sources.count >= 25)
        #expect(Repository.tests.count >= table.order.count)
        #expect(Repository.headers.count >= 4)
        #expect(Repository.sources.allSatisfy { $0.length > 0 })
    }

    @Test("the module table is a hierarchy")
    func hierarchy() { expectNone(table.upward) }

    @Test("modules import what the table allows")
    func imports() { expectNone(Repository.sources.flatMap { Rules.importsOutsideTable($0, table) }) }

    @Test("Foundation stays out of the data path")
    func foundation() {
        expectNone(Repository.sources.flatMap { Rules.foundationOutOfPlace($0, allowed: ["Settings", "natfwt"]) })
    }

    @Test("C is touched where it belongs")
    func cModules() {
        let allowed: [String: Set<String>] = [
            "CUV": ["EventLoop"], "CLinux": ["EventLoop"], "CIPsecMB": ["TLS"], "COpenSSL": ["Cryptography", "TLS"],
            "CSQLite": ["Registry"],
        ]
        expectNone(Repository.sources.flatMap { Rules.cModules($0, allowed) })
    }

    @Test("nothing traps on a bad value")
    func traps() { expectNone(Repository.sources.flatMap(Rules.traps)) }

    @Test("functions are short")
    func functionLengths() {
        let measured = (Repository.sources + Repository.tests).flatMap { file in
            Lengths.functions(file).map { (name: "\(file.path):\($0.name)", size: $0.length) }
        }
        expectNone(functions.problems(measured))
    }

    @Test("files have one subject")
    func fileLengths() {
        expectNone(sourceLengths.problems(Repository.sources.map { ($0.path, $0.length) }))
        expectNone(testLengths.problems(Repository.tests.map { ($0.path, $0.length) }))
    }

    @Test("every file names its licence")
    func licences() {
        let manifest = Repository.manifest.map { [$0] } ?? []
        let scripts = Repository.scripts.filter {
            $0.path.hasPrefix("Tests") || $0.lines.first?.hasPrefix("#!") == true
        }
        let all = Repository.sources + Repository.tests + Repository.headers + scripts + manifest
        expectNone(all.flatMap(Rules.licence))
    }

    @Test("no file names the place where somebody worked")
    func workplaces() {
        let manifest = Repository.manifest.map { [$0] } ?? []
        let readme = Repository.read("README.md").map { [$0] } ?? []
        let all =
            Repository.sources + Repository.tests + Repository.headers + Repository.scripts + manifest + readme
        expectNone(all.flatMap(Rules.workplaces))
    }

    @Test("every public declaration is documented")
    func documentation() {
        let asked = Repository.sources.reduce(into: Set<String>()) { $0.formUnion(Rules.requirements($1)) }
        let problems = Repository.sources.flatMap { Rules.undocumented($0, asked: asked) }
        let missing = Dictionary(grouping: problems) { problem in
            String(problem.split(separator: "/")[1])
        }
        let measured = missing.map { (name: $0.key, size: $0.value.count) }
        let wrong = undocumented.problems(measured)
        let modules = wrong.compactMap { $0.split(separator: ":").first.map(String.init) }
        expectNone(wrong + modules.flatMap { missing[$0] ?? [] })
    }

    @Test("tests wait for things, not for time")
    func sleeps() {
        // The lab's own waiting is the one place that looks at intervals.
        let tests = Repository.tests.filter { !$0.path.hasPrefix("Tests/TestSupport/Lab/") }
        let measured = tests.map { (name: $0.path, size: Rules.sleeps($0)) }.filter { $0.size > 0 }
        expectNone(sleeping.problems(measured))
    }
}
