// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import Synchronization
import Testing

@testable import Telemetry

/// Keeps lines, or refuses them.
final class KeepingSink: LogSink {
    private let state = Mutex<(lines: [String], isFull: Bool)>(([], false))

    var lines: [String] { state.withLock { $0.lines } }
    var isFull: Bool {
        get { state.withLock { $0.isFull } }
        set { state.withLock { $0.isFull = newValue } }
    }
    func write(_ line: [UInt8]) -> Bool {
        state.withLock { state in
            if !state.isFull { state.lines.append(String(decoding: line.dropLast(), as: UTF8.self)) }
            return !state.isFull
        }
    }
}

@Suite struct LogOutputTests {
    let sink = KeepingSink()
    let output: LogOutput

    init() { output = LogOutput(sink: sink, clock: { WallTime(seconds: 0) }) }

    private func shown(_ text: String...) -> [String] { text.map { "1970-01-01T00:00:00.000Z " + $0 } }

    @Test func levelChangesAtRunTime() {
        let logger = output.logger("relay")
        logger.debug("one")
        output.level = .debug
        logger.debug("two")
        output.level = .error
        logger.warning("three")
        #expect(sink.lines == shown("debug two"))
    }

    @Test(arguments: Logger.Level.allCases)
    func everyLevelReadsBack(level: Logger.Level) {
        output.level = level
        #expect(output.level == level && output.logger("x").logLevel == level)
    }

    @Test func formatChangesAtRunTime() {
        let logger = output.logger("relay")
        logger.info("one")
        output.format = .json
        logger.info("two")
        #expect(sink.lines.map { $0.first } == ["1", "{"])
    }

    /// swift-log wants a logger's level and metadata to be its own.
    @Test func loggersAreValues() {
        var first = output.logger("relay")
        first.logLevel = .warning
        first[metadataKey: "node"] = "a"
        var second = first
        second.logLevel = .debug
        second[metadataKey: "node"] = "b"
        first.info("no")
        first.error("first")
        second.debug("second", metadata: ["z": "1", "a": "2"])
        #expect(sink.lines == shown("error first node=a", "debug second a=2 node=b z=1"))
        #expect(output.level == .info)
    }

    @Test func metadataOfTheCallWins() {
        var logger = output.logger("relay")
        logger[metadataKey: "k"] = "logger"
        logger.info("m", metadata: ["k": "call"])
        #expect(sink.lines == shown("info m k=call"))
    }

    @Test func lostLinesAreTold() {
        let logger = output.logger("relay")
        sink.isFull = true
        for _ in 0..<5 { logger.info("lost") }
        sink.isFull = false
        logger.info("back")
        logger.info("again")
        #expect(sink.lines == shown("warning log lines were lost count=5", "info back", "info again"))
    }

    @Test func manyThreadsWriteWholeLines() async {
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for line in 0..<200 {
                        output.logger("t").info("m", metadata: ["task": "\(task)", "line": "\(line)"])
                    }
                }
            }
        }
        #expect(Set(sink.lines).count == 1_600)
    }
}

/// What may happen to standard error, each in a process of its own (hazard 37): the program goes on.
@Suite struct StandardErrorTests {
    /// Logs a thousand lines, long ones too, and leaves.
    private static func logAndLeave() -> Never {
        let logger = LogOutput().logger("test")
        for number in 0..<1_000 {
            logger.info("line", metadata: ["number": "\(number)", "long": "\(String(repeating: "x", count: 500))"])
        }
        exit(0)
    }

    @Test func closedDescriptor() async {
        await #expect(processExitsWith: .success) {
            close(2)
            StandardErrorTests.logAndLeave()
        }
    }

    @Test func fullDisk() async {
        await #expect(processExitsWith: .success) {
            dup2(open("/dev/full", O_WRONLY), 2)
            StandardErrorTests.logAndLeave()
        }
    }

    @Test func brokenPipe() async {
        await #expect(processExitsWith: .success) {
            var ends: [Int32] = [0, 0]
            pipe(&ends)
            dup2(ends[1], 2)
            close(ends[0])
            StandardErrorTests.logAndLeave()
        }
    }

    /// Nobody reads: the lines are lost, the program isn't held.
    @Test func stuckReader() async {
        await #expect(processExitsWith: .success) {
            var ends: [Int32] = [0, 0]
            pipe(&ends)
            dup2(ends[1], 2)
            StandardErrorTests.logAndLeave()
        }
    }

    @Test func closedDescriptorsAreFilled() async {
        await #expect(processExitsWith: .success) {
            for descriptor: Int32 in 0...2 { close(descriptor) }
            StandardDescriptors.fill()
            let isFilled = (0...2).allSatisfy { fcntl(Int32($0), F_GETFD) >= 0 }
            let next = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            exit(isFilled && next > 2 ? 0 : 1)
        }
    }
}
