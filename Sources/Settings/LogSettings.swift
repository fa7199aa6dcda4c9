// SPDX-License-Identifier: Apache-2.0

/// The table `[log]` of both programs.
public struct LogSettings: Equatable, Sendable {
    /// The levels of swift-log, by the same names.
    public enum Level: String, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error, critical
    }
    /// A line for people, or a JSON object for collectors.
    public enum Format: String, Sendable, CaseIterable { case text, json }

    /// Events below it are not written.
    public var level = Level.info
    /// How a line looks.
    public var format = Format.text

    /// The defaults.
    public init() {}

    init(from table: inout TableReader) {
        level = table.choice("level", default: level)
        format = table.choice("format", default: format)
        table.finish()
    }
}
