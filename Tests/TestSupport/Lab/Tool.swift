// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The system's programs that the lab and its tests use.
public enum Tool {
    private static let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin", "/usr/local/sbin"]

    /// The full path of a program; the name itself where it is a path already or can't be found.
    public static func path(_ name: String) -> String { find(name) ?? name }

    /// Whether the machine has all of these programs. For `.enabled(if:)`.
    public static func has(_ names: String...) -> Bool { names.allSatisfy { find($0) != nil } }

    private static func find(_ name: String) -> String? {
        if name.contains("/") { return FileManager.default.isExecutableFile(atPath: name) ? name : nil }
        return places.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// The system's Python: version managers' shims take longer to start than the test to run.
    public static let python = path("python3")

    /// Runs one of the lab's own commands outside of any namespace (only `ip`); throws what it said when it fails.
    static func run(_ arguments: [String], directory: String) async throws {
        let child = try Child(
            arguments[0], [path(arguments[0])] + arguments.dropFirst(), directory: directory)
        let code = try await child.ended()
        guard code == 0 else { throw LabError("\(arguments.joined(separator: " ")): \(child.log)") }
    }

    /// Runs a short command to its end, outside of any namespace, for what can't wait asynchronously: conditions of
    /// tests and the removal of leftovers. The exit code is nil where the command can't be started.
    static func runNow(_ arguments: [String]) -> (code: Int32?, output: String) {
        let directory = NSTemporaryDirectory()
        guard let child = try? Child("now-\(getpid())", arguments, directory: directory) else { return (nil, "") }
        defer { child.removeOutput() }
        while child.isRunning { usleep(1_000) }
        return (child.exitCode, child.output)
    }
}
