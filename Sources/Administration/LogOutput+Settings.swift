// SPDX-License-Identifier: Apache-2.0

internal import Logging
public import Settings
public import Telemetry

extension LogOutput {
    /// Takes the level and the format from the settings; at once, for every logger.
    public func apply(_ settings: LogSettings) {
        level = Logger.Level(rawValue: settings.level.rawValue) ?? .info
        format = settings.format == .json ? .json : .text
    }
}
