// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// A program that a test started, with its output in files. It is never left behind: the lab kills it at the end.
///
/// Spawned with `posix_spawn`, in a process group of its own, with no descriptor of the test process but 0, 1 and 2.
public final class Child: Sendable {
    /// What the program is called in messages, and the stem of its output files.
    public let name: String
    public let pid: pid_t
    let outputPath: String
    let errorPath: String
    private let status = Mutex<Int32?>(nil)

    /// Starts `arguments[0]` (a path) with standard output and error going to files in `directory`.
    /// - Parameter input: a file for standard input; /dev/null unless told.
    public init(
        _ name: String, _ arguments: [String], environment: [String: String] = [:], input: String = "/dev/null",
        directory: String
    ) throws {
        let stem = "\(directory)/\(Child.counter.add(1, ordering: .relaxed).newValue)-\(name)"
        self.name = name
        outputPath = stem + ".out"
        errorPath = stem + ".err"
        pid = try Child.spawn(
            arguments, environment: environment, input: input, output: outputPath, errors: errorPath)
    }

    private static let counter = Atomic<Int>(0)

    private static func spawn(
        _ arguments: [String], environment: [String: String], input: String, output: String, errors: String
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        _ = closeFrom?(&actions, 3)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
        posix_spawnattr_setflags(&attributes, Int16(flags))

        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let argv = arguments.map { strdup($0) } + [nil]
        let envp = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { (argv + envp).forEach { free($0) } }
        var pid: pid_t = 0
        let failure = posix_spawn(&pid, arguments[0], &actions, &attributes, argv, envp)
        guard failure == 0 else {
            throw LabError("\(arguments.joined(separator: " ")): \(String(cString: strerror(failure)))")
        }
        return pid
    }

    /// `posix_spawn_file_actions_addclosefrom_np`, which the C library has and its Swift overlay does not show: without
    /// it a child would inherit whatever descriptors the other tests of this process have open.
    private static let closeFrom: (@convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32)? =
        {
            guard let symbol = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { return nil }
            return unsafeBitCast(
                symbol, to: (@convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32).self)
        }()

    // MARK: Its end

    /// The exit code, or 128 + the signal that ended it; nil while it runs.
    public var exitCode: Int32? {
        status.withLock { status in
            if status == nil {
                var raw: Int32 = 0
                guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
                status = raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
            }
            return status
        }
    }

    public var isRunning: Bool { exitCode == nil }

    /// Waits for the program to end and gives its exit code.
    @discardableResult
    public func ended(within deadline: Duration = patience) async throws -> Int32 {
        try await eventually("\(name) ends\(tail())", within: deadline, every: .milliseconds(2)) { exitCode }
    }

    /// Sends a signal to the program alone (SIGSTOP, SIGHUP, SIGTERM…).
    public func signal(_ number: Int32) {
        if isRunning { kill(pid, number) }
    }

    /// SIGTERM, and waits.
    @discardableResult
    public func stop(within deadline: Duration = patience) async throws -> Int32 {
        signal(SIGTERM)
        return try await ended(within: deadline)
    }

    /// SIGKILL to the program and everything it started, and waits until it is gone.
    public func destroy() async {
        if isRunning {
            kill(-pid, SIGKILL)
            kill(pid, SIGKILL)
        }
        _ = try? await ended(within: .seconds(5))
    }

    // MARK: What it said

    public var output: String { Child.read(outputPath) }
    public var errors: String { Child.read(errorPath) }

    /// Standard output and error together: where a program logs is its own affair.
    public var log: String { output + errors }

    /// The last lines of both, for messages.
    public func tail(_ count: Int = 25) -> String {
        let lines = log.split(separator: "\n").suffix(count)
        return lines.isEmpty ? "" : "\n--- \(name):\n" + lines.joined(separator: "\n")
    }

    /// Waits until one line of the output holds `text`, and gives that line.
    @discardableResult
    public func says(_ text: String, within deadline: Duration = patience) async throws -> String {
        try await eventually("\(name) says “\(text)”\(tail())", within: deadline) {
            if let line = log.split(separator: "\n").first(where: { $0.contains(text) }) { return String(line) }
            guard isRunning || log.contains(text) else { throw LabError("\(name) ended\(tail())") }
            return nil
        }
    }

    /// Deletes the files with the output, for a program that ran outside of a lab's directory.
    func removeOutput() {
        unlink(outputPath)
        unlink(errorPath)
    }

    private static func read(_ path: String) -> String {
        guard let data = FileManager.default.contents(atPath: path) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    // MARK: What it holds

    /// How many descriptors it has open.
    public var descriptors: Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
    }

    /// Its own share of memory in KiB (Pss of smaps_rollup).
    public var memoryKiB: Int { smaps("Pss:") }

    private func smaps(_ field: String) -> Int {
        let line = Child.read("/proc/\(pid)/smaps_rollup").split(separator: "\n").first { $0.hasPrefix(field) }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    /// Bytes that its network namespace has received and sent so far, over all interfaces but the loopback.
    public var networkBytes: Int {
        Child.read("/proc/\(pid)/net/dev").split(separator: "\n").dropFirst(2).reduce(0) { sum, line in
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].filter({ $0 != " " }) != "lo" else { return sum }
            let numbers = parts[1].split(separator: " ").compactMap { Int($0) }
            return numbers.count > 8 ? sum + numbers[0] + numbers[8] : sum
        }
    }

    /// Whether a socket of its network namespace listens on (TCP) or is bound to (UDP) `port`.
    public func hasPort(_ port: Int, _ transport: Transport = .tcp) -> Bool {
        sockets(transport).contains { $0.port == port && $0.state == transport.openState }
    }

    /// How many established TCP connections its namespace has on the local `port`.
    public func connections(onPort port: Int) -> Int {
        sockets(.tcp).count { $0.port == port && $0.state == "01" }
    }

    /// The sockets of its network namespace, as /proc/PID/net shows them: local port and state, both families.
    private func sockets(_ transport: Transport) -> [(port: Int, state: Substring)] {
        [transport.rawValue, transport.rawValue + "6"].flatMap { table in
            Child.read("/proc/\(pid)/net/\(table)").split(separator: "\n").dropFirst().compactMap { line in
                let fields = line.split(separator: " ")
                guard fields.count > 3, let port = fields[1].split(separator: ":").last.flatMap({ Int($0, radix: 16) })
                else { return nil }
                return (port, fields[3])
            }
        }
    }

    /// Waits until something in its namespace serves `port`.
    public func opens(
        _ port: Int, _ transport: Transport = .tcp, within deadline: Duration = patience
    ) async throws {
        try await until("\(name) opens \(transport) \(port)\(tail())", within: deadline) {
            guard isRunning else { throw LabError("\(name) ended with \(exitCode ?? -1)\(tail())") }
            return hasPort(port, transport)
        }
    }
}

/// What a port is a port of.
public enum Transport: String, Sendable, CaseIterable {
    case tcp, udp

    /// The state that /proc/net/tcp and udp show for a listening, or a bound, socket.
    var openState: String { self == .tcp ? "0A" : "07" }
}
