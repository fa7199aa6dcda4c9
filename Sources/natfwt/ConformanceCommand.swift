// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Glibc
import Logging
import Providers
import Telemetry

struct ConformanceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conformance",
        abstract: "Try a provider: what it keeps and what it breaks of the obligations of the provider API.",
        usage: "natfwt conformance [--measure] [--] PROGRAM [ARGUMENT]...",
        discussion: """
            Starts the program with CPNATFWT_SOCKET, as the agent would see it; no agent is needed. Ends with status 1 where
            an obligation is broken. A provider ends itself with status 0 when it gets SIGTERM, and deregisters before.
            """)

    @Flag(help: "Measure a provider that reaches every ID and hands packets back.") var measure = false
    @Flag(help: "What was measured as one JSON object.") var json = false
    @Argument(parsing: .captureForPassthrough, help: "The provider and its arguments.") var program: [String] = []

    func run() throws {
        let program = try PassedCommand(
            program, of: ConformanceCommand.self, expected: "which provider? For example: natfwt conformance ./provider"
        ).words
        let path = "/tmp/natfwt-conformance-\(getpid()).sock"
        do {
            let trial = try ProviderTrial(
                path: path, logger: Logger(label: "conformance") { _ in SwiftLogNoOpLogHandler() }
            ) {
                try? say($0.line)
            }
            defer { trial.end() }
            if measure { return try tell(try trial.measure(program)) }
            guard try trial.run(program) else { throw ExitCode(1) }
        } catch let error as UVError {
            throw fail(
                StartFailure(status: .unavailable, message: "\(program.joined(separator: " ")): \(error.message)"))
        }
    }

    private func tell(_ speed: ProviderSpeed?) throws {
        guard let speed else { throw fail(StartFailure(status: .unavailable, message: "no packet came back")) }
        let ratio = speed.cpuPerGB / speed.cpuPerGBWithin
        if json { return try say(text(speed, ratio)) }
        try say("bulk: \(rounded(speed.bulkBytesPerSecond / 1e9)) GB/s each way")
        try say("packets of 1200 B: \(Int(speed.packetsPerSecond)) a second each way")
        try say("round trip: \(rounded(speed.roundTrip / .microseconds(1))) µs")
        try say("CPU, both processes: \(rounded(speed.cpuPerGB / .seconds(1))) s for each GB there and back")
        try say("that is \(rounded(ratio)) times what a provider within this process takes")
    }

    private func text(_ speed: ProviderSpeed, _ ratio: Double) -> String {
        var json = JSONWriter()
        json.object { json in
            json.field("bulk_GBps", speed.bulkBytesPerSecond / 1e9)
            json.field("packets_per_s", speed.packetsPerSecond)
            json.field("round_trip_us", speed.roundTrip / .microseconds(1))
            json.field("cpu_s_per_GB", speed.cpuPerGB / .seconds(1))
            json.field("within_cpu_s_per_GB", speed.cpuPerGBWithin / .seconds(1))
            json.field("cpu_times_within", ratio)
        }
        return json.text
    }

    private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}
