// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization
import Telemetry

/// A log that a test reads.
public final class MemoryLog: LogSink {
    private let stored = Mutex<[String]>([])

    public init() {}

    public var lines: [String] { stored.withLock { $0 } }
    public func contains(_ text: String) -> Bool { lines.contains { $0.contains(text) } }

    public func write(_ line: [UInt8]) -> Bool {
        stored.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
        return true
    }

    /// The output of a program that logs everything here.
    public var output: LogOutput { LogOutput(level: .trace, sink: self) }
    public var logger: Logger { output.logger("test") }
}
