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
    @Option(help: .hidden) var application: UInt16?
    /// Measures so many times shorter, for a test.
    @Option(help: .hidden) var haste = 1
    @Argument(parsing: .captureForPassthrough, help: "The provider and its arguments.") var program: [String] = []

    /// What --measure starts as the application: natfwt itself, with the port that it connects to.
    private static let applicationCommand = ["/proc/self/exe", "conformance", "--application"]

    func run() throws {
        if let application { return try TrialApplication.run(port: application) }
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
            if measure {
                trial.haste = min(max(haste, 1), 16)
                return try tell(
                    try trial.measure(program, application: ConformanceCommand.applicationCommand))
            }
            guard try trial.run(program) else { throw ExitCode(1) }
        } catch let error as UVError {
            throw fail(
                StartFailure(status: .unavailable, message: "\(program.joined(separator: " ")): \(error.message)"))
        }
    }

    private func tell(_ speed: ProviderSpeed?) throws {
        guard let speed else { throw fail(StartFailure(status: .unavailable, message: "no packet came back")) }
        if json { return try say(text(speed)) }
        try say("bulk: \(rounded(speed.bulkBytesPerSecond / 1e9)) GB/s each way")
        try say("packets of 1200 B: \(Int(speed.packetsPerSecond)) a second each way")
        try say("round trip: \(rounded(speed.roundTrip / .microseconds(1))) µs")
        try say("CPU for each GB of an application, there and back: \(words(speed.carrying))")
        try say("CPU for each GB that the provider alone hands back: \(words(speed.bare))")
    }

    private func words(_ cost: ProviderSpeed.Cost) -> String {
        "\(rounded(cost.perGB / .seconds(1))) s, \(rounded(cost.timesWithin)) times what a provider within this process takes"
    }

    private func text(_ speed: ProviderSpeed) -> String {
        var json = JSONWriter()
        json.object { json in
            json.field("bulk_GBps", speed.bulkBytesPerSecond / 1e9)
            json.field("packets_per_s", speed.packetsPerSecond)
            json.field("round_trip_us", speed.roundTrip / .microseconds(1))
            for (name, cost) in [("application", speed.carrying), ("bare", speed.bare)] {
                json.field("\(name)_cpu_s_per_GB", cost.perGB / .seconds(1))
                json.field("\(name)_within_cpu_s_per_GB", cost.perGBWithin / .seconds(1))
                json.field("\(name)_cpu_times_within", cost.timesWithin)
            }
        }
        return json.text
    }

    private func rounded(_ value: Double) -> Double { (value * 1_000).rounded() / 1_000 }
}
