// SPDX-License-Identifier: Apache-2.0

public import Logging
public import Primitives

/// Lets through at most so many lines of each kind in a span of time (a second, unless told otherwise), and tells how
/// many it held back. Owned by one loop.
///
/// For events that a peer can cause at will: refused handshakes, exceeded limits, malformed datagrams.
public final class LogSampler {
    /// Past so many kinds at once the rest share one, unless told otherwise.
    static let maximumKinds = 256

    private struct Window {
        var start: Instant
        var written = 0
        var held = 0
        var level: Logger.Level
    }

    private let logger: Logger
    private let lines: Int
    private let span: Duration
    private let maximumKinds: Int
    private var windows: [String: Window] = [:]

    /// Writes what it lets through to `logger`.
    public convenience init(_ logger: Logger, linesPerSecond: Int = 5) {
        self.init(logger, lines: linesPerSecond, per: .seconds(1), maximumKinds: LogSampler.maximumKinds)
    }

    /// The same with a span of another length, and another bound for the kinds that are told apart.
    public init(_ logger: Logger, lines: Int, per span: Duration, maximumKinds: Int) {
        self.logger = logger
        self.lines = lines
        self.span = span
        self.maximumKinds = maximumKinds
    }

    /// When `flush(now:)` should be called next; nil while nothing is held back. Ask again after each call of `log`.
    public var nextFlush: Instant? {
        windows.values.filter { $0.held > 0 }.map(\.start).min().map { $0 + span }
    }

    /// Logs the line, or counts it. `kind` names the sort of event and is no peer's text.
    public func log(
        _ level: Logger.Level, kind: String, now: Instant, _ message: @autoclosure () -> Logger.Message,
        metadata: @autoclosure () -> Logger.Metadata? = nil
    ) {
        guard logger.logLevel <= level else { return }
        let kind = windows[kind] == nil && windows.count >= maximumKinds ? "other" : kind
        var window = windows[kind] ?? Window(start: now, level: level)
        if now - window.start >= span {
            tell(kind, window)
            window = Window(start: now, level: level)
        }
        if window.written < lines {
            window.written += 1
            logger.log(level: level, message(), metadata: metadata())
        } else {
            window.held += 1
        }
        windows[kind] = window
    }

    /// Tells what was held back in the spans that are over, and forgets them.
    public func flush(now: Instant) {
        for (kind, window) in windows where now - window.start >= span {
            tell(kind, window)
            windows[kind] = nil
        }
    }

    private func tell(_ kind: String, _ window: Window) {
        guard window.held > 0 else { return }
        logger.log(level: window.level, "… and \(window.held) more", metadata: ["kind": "\(kind)"])
    }
}
