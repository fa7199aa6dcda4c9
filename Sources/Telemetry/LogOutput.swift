// SPDX-License-Identifier: Apache-2.0

public import Logging
internal import Synchronization

/// The log of the process: the level and the format that all loggers share and that a reload may change, and the sink.
public final class LogOutput: Sendable {
    private let sink: any LogSink
    private let clock: @Sendable () -> WallTime
    private let storedLevel: Atomic<UInt8>
    private let storedFormat: Atomic<UInt8>
    private let lostLines = Atomic<Int>(0)

    /// Writes to `sink`; `clock` gives the time of each line.
    public init(
        level: Logger.Level = .info, format: LogFormat = .text, sink: any LogSink = StandardError(),
        clock: @escaping @Sendable () -> WallTime = { WallTime.now }
    ) {
        self.sink = sink
        self.clock = clock
        storedLevel = Atomic(LogOutput.number(level))
        storedFormat = Atomic(format.rawValue)
    }

    /// Makes this the output of every logger of the process. Once in a process's life, before the first logger.
    public func bootstrap() {
        LoggingSystem.bootstrap { LineLogHandler(label: $0, output: self) }
    }

    /// A logger that writes here, whether or not this output was bootstrapped.
    public func logger(_ label: String) -> Logger {
        Logger(label: label) { LineLogHandler(label: $0, output: self) }
    }

    /// What is below it is not written; takes effect at once for all loggers that have no level of their own.
    public var level: Logger.Level {
        get { Logger.Level.allCases[Int(storedLevel.load(ordering: .relaxed))] }
        set { storedLevel.store(LogOutput.number(newValue), ordering: .relaxed) }
    }

    /// How lines look from now on.
    public var format: LogFormat {
        get { LogFormat(rawValue: storedFormat.load(ordering: .relaxed)) ?? .text }
        set { storedFormat.store(newValue.rawValue, ordering: .relaxed) }
    }

    func write(_ event: LogEvent, label: String, metadata: Logger.Metadata) {
        let format = format
        let time = clock()
        let sorted = metadata.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
        let line = LogLine(
            time: time, level: event.level, label: label, message: event.message.description, metadata: sorted)
        tellLost(time, label, format)
        if !sink.write(line.bytes(format)) { lostLines.add(1, ordering: .relaxed) }
    }

    /// Says how many lines could not be written, as soon as one can.
    private func tellLost(_ time: WallTime, _ label: String, _ format: LogFormat) {
        let lost = lostLines.exchange(0, ordering: .relaxed)
        guard lost > 0 else { return }
        let line = LogLine(
            time: time, level: .warning, label: label, message: "log lines were lost", metadata: [("count", "\(lost)")])
        if !sink.write(line.bytes(format)) { lostLines.add(lost, ordering: .relaxed) }
    }

    private static func number(_ level: Logger.Level) -> UInt8 {
        UInt8(Logger.Level.allCases.firstIndex(of: level) ?? 2)
    }
}

/// What swift-log asks for, on top of a `LogOutput`.
struct LineLogHandler: LogHandler {
    let label: String
    let output: LogOutput
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private var ownLevel: Logger.Level?

    init(label: String, output: LogOutput) {
        self.label = label
        self.output = output
    }

    /// The output's level, unless this logger was given its own.
    var logLevel: Logger.Level {
        get { ownLevel ?? output.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        if let error = event.error { all["error"] = "\(error)" }
        output.write(event, label: label, metadata: all)
    }
}
