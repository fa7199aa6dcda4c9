// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// A unit of `deploy/systemd`.
struct SystemdUnit: Sendable, CustomTestStringConvertible {
    let name: String
    static let agent = SystemdUnit(name: "natfwt-agent")
    static let relay = SystemdUnit(name: "natfwt-relay")

    static let folder = URL(fileURLWithPath: Lab.scripts + "/../../../deploy/systemd").standardized.path
    var testDescription: String { name }

    /// What stands before a program that is to run as the unit's would, with a state directory that is there already.
    func wrapper(state: String, dropIns: [String] = []) -> [String] {
        let files = (["\(name).service"] + dropIns).map { "\(Self.folder)/\($0)" }
        return [Tool.python, "\(Lab.scripts)/unit.py", state] + files + ["--"]
    }
}

/// The units, as systemd itself reads them.
@Suite("systemd units", .enabled(if: Tool.has("systemd-analyze"), "needs systemd-analyze"))
struct SystemdTests {
    /// A unit with some of its drop-ins, in a folder of its own, whose programs are there.
    private func copied(_ unit: SystemdUnit, _ dropIns: [String], _ body: (String) async throws -> Void) async throws {
        let folder = NSTemporaryDirectory() + "natfwt-units-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let more = "\(folder)/\(unit.name).service.d"
        try FileManager.default.createDirectory(atPath: more, withIntermediateDirectories: true)
        let files =
            [("\(unit.name).service", "\(folder)/\(unit.name).service")] + dropIns.map { ($0, "\(more)/\($0)") }
        for (name, target) in files {
            let text = try String(contentsOfFile: "\(SystemdUnit.folder)/\(name)", encoding: .utf8)
            // Where natfwt is not installed its place is another program's.
            try text.replacing(/\/usr\/local\/(bin\/natfwt|lib\/natfwt\/gateway)/, with: "/bin/true")
                .write(toFile: target, atomically: true, encoding: .utf8)
        }
        try await body("\(folder)/\(unit.name).service")
    }

    private static let cases: [(SystemdUnit, [String])] = [
        (.relay, []), (.agent, []), (.agent, ["natfwt-agent-gateway.conf"]), (.agent, ["natfwt-agent-adapter.conf"]),
        (.agent, ["natfwt-agent-gateway.conf", "natfwt-agent-adapter.conf"]),
    ]

    /// What systemd-analyze says of a file.
    private func analyze(_ arguments: [String], _ file: String) async throws -> (code: Int32, output: String) {
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent().path
        let child = try Child("analyze", [Tool.path("systemd-analyze")] + arguments + [file], directory: folder)
        return (try await child.ended(within: .seconds(30)), child.log)
    }

    @Test("systemd finds nothing wrong with a unit", arguments: cases)
    func verified(_ unit: SystemdUnit, _ dropIns: [String]) async throws {
        try await copied(unit, dropIns) { file in
            let (code, output) = try await analyze(["verify", "--man=no"], file)
            // What it ignores it only tells.
            #expect(code == 0 && output.isEmpty, "\(output)")
        }
    }

    @Test("a unit is shut in as far as it can be", arguments: cases)
    func confined(_ unit: SystemdUnit, _ dropIns: [String]) async throws {
        try await copied(unit, dropIns) { file in
            let (code, output) = try await analyze(
                ["security", "--no-pager", "--offline=true", "--threshold=20"], file)
            #expect(code == 0, "\(output)")
        }
    }

    @Test("every file of the folder is looked at")
    func complete() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: SystemdUnit.folder)
        let looked = Self.cases.flatMap { ["\($0.name).service"] + $1 }
        #expect(Set(files) == Set(looked))
    }
}

extension NetworkTests.Programs {
    /// Programs as their units have them (`Support/unit.py`), with no systemd.
    @Suite("Programs in their units", .enabled(if: Tool.has("setpriv"), "needs setpriv"))
    struct UnitTests {
        @Test("the adapter's drop-in is enough", .enabled(if: FileManager.default.fileExists(atPath: "/dev/net/tun")))
        func adapter() async throws {
            try await Lab.run(neighbour: true) { lab in
                let deployment = try Deployment(lab)
                try await deployment.startRelay()
                let office = try #require(lab.office)
                let directory = "\(lab.directory)/laptop"
                let agent = try await deployment.addNode(
                    "laptop", on: office, directory: directory, more: "[adapter]",
                    wrapper: SystemdUnit.agent.wrapper(state: directory, dropIns: ["natfwt-agent-adapter.conf"]))
                try await agent.says("the adapter is up")
                let addresses = try await office.check(["ip", "-6", "addr", "show", "natfwt0"])
                #expect(addresses.contains("mtu 1280") && addresses.contains("/28"), "\(addresses)")
            }
        }
    }
}
