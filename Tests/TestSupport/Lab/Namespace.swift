// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// A machine of the lab: a network namespace with addresses, routes, host names, and programs running in it.
///
/// Everything fails closed: a command runs through `ip netns exec`, which refuses where the namespace is missing, and
/// never on the machine's own network.
public final class Namespace: Sendable {
    /// The name that `ip netns` knows: unique for the run.
    public let name: String
    /// Its address in the lab, IPv4 and IPv6.
    public let address: String
    public let address6: String
    let directory: String
    private let children = Mutex<[Child]>([])
    private let setup = Mutex<String>("")

    init(name: String, address: String, address6: String, directory: String) {
        self.name = name
        self.address = address
        self.address6 = address6
        self.directory = directory
    }

    /// Whether the namespace is there. Asked before every command.
    public var exists: Bool { FileManager.default.fileExists(atPath: "/run/netns/\(name)") }

    /// Both addresses, for tests that go over the two families.
    public var addresses: [String] { [address, address6] }

    // MARK: Programs

    /// Starts a program in the namespace; it is killed when the lab ends, if not earlier.
    @discardableResult
    public func start(
        _ arguments: [String], as title: String? = nil, environment: [String: String] = [:],
        input: String = "/dev/null", limits: [String] = []
    ) throws -> Child {
        guard exists else { throw LabError("namespace \(name) is gone: refusing to run \(arguments)") }
        let prefix = limits.isEmpty ? [] : [Tool.path("prlimit")] + limits + ["--"]
        let command =
            [Tool.path("ip"), "netns", "exec", name] + prefix + [Tool.path(arguments[0])] + arguments.dropFirst()
        let title = title ?? (arguments[0] as NSString).lastPathComponent
        let child = try Child(
            title, command, environment: environment, input: input, directory: directory)
        children.withLock { $0.append(child) }
        return child
    }

    /// Starts a python program of Tests/NetworkTests/Support.
    @discardableResult
    public func start(
        script: String, _ arguments: [String] = [], limits: [String] = []
    ) throws -> Child {
        try start(
            [Tool.python, "-u", "\(Lab.scripts)/\(script).py"] + arguments, as: script, limits: limits)
    }

    /// Runs a program to its end; its exit code, what it printed, and how long it took.
    public func run(
        _ arguments: [String], input: String = "/dev/null", within deadline: Duration = patience
    ) async throws -> Output {
        let clock = ContinuousClock()
        let begin = clock.now
        let child = try start(arguments, input: input)
        let code = try await withCleanup {
            try await child.ended(within: deadline)
        } cleanup: {
            await child.destroy()
        }
        children.withLock { $0.removeAll { $0 === child } }
        return Output(code: code, output: child.output, errors: child.errors, took: clock.now - begin)
    }

    /// Runs a program that must succeed, and gives what it printed.
    @discardableResult
    public func check(_ arguments: [String], within deadline: Duration = patience) async throws -> String {
        let result = try await run(arguments, within: deadline)
        guard result.code == 0 else {
            throw LabError("\(name): \(arguments.joined(separator: " ")) gave \(result)")
        }
        return result.output
    }

    /// Runs a python program of Tests/NetworkTests/Support to its end.
    public func run(
        script: String, _ arguments: [String] = [], within deadline: Duration = patience
    ) async throws -> Output {
        try await run([Tool.python, "-u", "\(Lab.scripts)/\(script).py"] + arguments, within: deadline)
    }

    func destroyChildren() async {
        for child in children.withLock({ $0 }) { await child.destroy() }
    }

    /// The last lines of every program that still runs or ran here.
    func tails() -> String {
        children.withLock { $0 }.map { $0.tail() }.joined()
    }

    // MARK: Network

    /// Gives addresses and routes (lines of `ip -batch`); remembered, so that a link that was down gets them again.
    func configure(_ lines: [String]) async throws {
        let batch = lines.joined(separator: "\n") + "\n"
        setup.withLock { $0 += batch }
        try await apply(batch)
    }

    /// Applies what `configure` said once more: after a link was down the kernel has dropped routes and addresses.
    func reapply() async throws { try await apply(setup.withLock { $0 }) }

    private func apply(_ batch: String) async throws {
        guard exists else { throw LabError("namespace \(name) is gone") }
        let path = "\(directory)/\(name).ip"
        try batch.write(toFile: path, atomically: true, encoding: .utf8)
        try await Tool.run(["ip", "-n", name, "-batch", path], directory: directory)
    }

    /// Loads nftables rules.
    public func nft(_ rules: String) async throws {
        let path = "\(directory)/\(name).nft"
        try rules.write(toFile: path, atomically: true, encoding: .utf8)
        try await check(["nft", "-f", path])
    }

    /// What /etc/hosts holds for the programs started here from now on; `ip netns exec` puts it in place.
    public func hosts(_ lines: [String]) throws {
        let text = (["127.0.0.1 localhost", "::1 localhost"] + lines).joined(separator: "\n") + "\n"
        try etc("hosts", text)
    }

    /// Puts a file over /etc/`file` for the programs started here.
    public func etc(_ file: String, _ text: String) throws {
        try FileManager.default.createDirectory(
            atPath: "/etc/netns/\(name)", withIntermediateDirectories: true)
        try text.write(toFile: "/etc/netns/\(name)/\(file)", atomically: false, encoding: .utf8)
    }
}

/// What a program that ran to its end left.
public struct Output: Sendable, CustomStringConvertible {
    public let code: Int32
    public let output: String
    public let errors: String
    public let took: Duration

    /// Standard output without the line's end.
    public var text: String { output.trimmingCharacters(in: .whitespacesAndNewlines) }

    public var description: String { "exit code \(code) after \(took)\n\(output)\(errors)" }
}
