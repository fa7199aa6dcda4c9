// SPDX-License-Identifier: Apache-2.0

/// Everything that is wrong with one configuration file, up to ten things, in the order of its lines.
public struct SettingsError: Error, Equatable, Sendable {
    /// One wrong thing, and where it stands.
    public struct Problem: Equatable, Sendable {
        /// The file's path as it was given.
        public let file: String
        /// Counted from 1; nil where the file as a whole is meant.
        public let line: Int?
        /// What was expected and what was found; the key comes first where there is one.
        public let message: String
    }

    /// The most problems that one error tells.
    public static let maximum = 10

    /// At least one, at most `maximum`.
    public let problems: [Problem]
    /// How many more there were.
    public let omitted: Int

    init(_ problems: [Problem]) {
        let sorted = problems.sorted { ($0.line ?? 0) < ($1.line ?? 0) }
        self.problems = Array(sorted.prefix(SettingsError.maximum))
        omitted = max(0, sorted.count - SettingsError.maximum)
    }

    init(file: String, line: Int? = nil, _ message: String) {
        self.init([Problem(file: file, line: line, message: message)])
    }
}

extension SettingsError.Problem: CustomStringConvertible {
    public var description: String { line.map { "\(file):\($0): \(message)" } ?? "\(file): \(message)" }
}

extension SettingsError: CustomStringConvertible {
    /// One line a problem, as `relay.toml:12: limits.nodes: expected …, found …`.
    public var description: String {
        let lines = problems.map(\.description) + (omitted > 0 ? ["… and \(omitted) more"] : [])
        return lines.joined(separator: "\n")
    }
}

/// Collects what is wrong while a file is read, so that a person mends it in one go.
final class Problems {
    let file: String
    private var found: [SettingsError.Problem] = []

    init(file: String) { self.file = file }

    func add(line: Int?, _ message: String) { found.append(.init(file: file, line: line, message: message)) }

    func throwIfAny() throws(SettingsError) {
        if !found.isEmpty { throw SettingsError(found) }
    }
}
