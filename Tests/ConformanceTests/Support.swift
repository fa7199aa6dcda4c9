// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// The library and the programs in Programs/, built once for all tests.
enum Built {
    static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
    static var programs: String { "\(repository)/Tests/ConformanceTests/Programs" }

    /// The folder with all of it; nil where there is no C compiler.
    static let folder: String? = {
        let folder = NSTemporaryDirectory() + "natfwt-conformance-\(getpid())"
        try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        guard run("/usr/bin/env", "PREFIX=here", "\(repository)/deploy/cpnatfwt", folder) else { return nil }
        for name in ["mirror", "obligations", "unload", "handover", "hostile", "fuzz_library"] {
            guard compile("\(programs)/\(name).c", folder) else { return nil }
        }
        return compile("\(repository)/Sources/Examples/udp-provider.c", folder) ? folder : nil
    }()

    /// The example in Swift, as its author would build it: with what pkg-config says of the library.
    static let sshProvider: String? = {
        guard let folder else { return nil }
        let package = "\(repository)/Sources/Examples/SSHProvider"
        let build =
            "PKG_CONFIG_PATH=\(folder) exec swift build --package-path \(package) --scratch-path \(folder)/ssh-build"
        guard run("/bin/sh", "-c", "\(build) -Xlinker -rpath -Xlinker \(folder)") else { return nil }
        return "\(folder)/ssh-build/debug/ssh-provider"
    }()

    /// A compiler, which may be anywhere on the PATH: the Swift toolchain brings its own.
    static func compiler(_ name: String) -> String? {
        let places = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        return places.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    private static func compile(_ source: String, _ folder: String) -> Bool {
        let name = URL(filePath: source).deletingPathExtension().lastPathComponent
        return run(
            "/usr/bin/cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-I", folder, "-I",
            "\(repository)/Sources/CLinux/include", source, "-L", folder, "-lcpnatfwt", "-Wl,-rpath,\(folder)",
            "-pthread", "-ldl", "-o", "\(folder)/\(name)")
    }

    static func run(_ arguments: String...) -> Bool {
        let process = Process()
        process.executableURL = URL(filePath: arguments[0])
        process.arguments = Array(arguments.dropFirst())
        process.standardOutput = FileHandle.nullDevice
        do { try process.run() } catch { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}

/// An agent without a relay, in a folder of its own.
final class Site: Sendable {
    let folder: String
    let agent: Child
    var socket: String { "\(folder)/agent.sock" }

    init(_ name: String, deadline: String = "1s", more: String = "", known: String = "") async throws {
        folder = NSTemporaryDirectory() + "cpn-\(name)-\(getpid())-\(Int.random(in: 0..<1_000_000))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let settings = """
            relay = ["127.0.0.1:1"]
            relay-key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            admin-socket = "agent.sock"
            [providers]
            deadline = "\(deadline)"
            [timeouts]
            backoff-initial = "10s"
            drain = "0s"
            \(more)
            """
        try settings.write(toFile: "\(folder)/agent.toml", atomically: true, encoding: .utf8)
        try Site.makeKey("\(folder)/node.key")
        if !known.isEmpty { try Site.writeKnown(known, folder) }
        agent = try Child("agent", [Natfwt.binary, "agent", "--config", "\(folder)/agent.toml"], directory: folder)
        try await until("the agent opens its sockets\(agent.tail())") { [folder] in
            isServed("\(folder)/agent.sock", SOCK_STREAM)
                && isServed("\(folder)/providers.sock", SOCK_SEQPACKET)
        }
    }

    /// A key as `natfwt join` would make it.
    static func makeKey(_ path: String) throws {
        try #require(Built.run(Tool.path("openssl"), "genpkey", "-algorithm", "ed25519", "-out", path))
        chmod(path, 0o600)
    }

    private static func writeKnown(_ text: String, _ folder: String) throws {
        try text.write(toFile: "\(folder)/known-nodes", atomically: true, encoding: .utf8)
        chmod("\(folder)/known-nodes", 0o600)
    }

    /// Ends the agent, and removes its folder.
    func end() async {
        agent.signal(SIGKILL)
        _ = try? await agent.ended()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Starts a program of ``Built`` as a provider of this agent.
    func start(_ program: String, _ arguments: String...) throws -> Child {
        let built = try #require(Built.folder)
        return try Child(
            program, ["\(built)/\(program)"] + arguments, environment: ["CPNATFWT_SOCKET": "\(folder)/providers.sock"],
            directory: folder)
    }

    func natfwt(_ arguments: String...) async throws -> String {
        let child = try Child("natfwt", [Natfwt.binary] + arguments + ["--socket", socket], directory: folder)
        _ = try await child.ended()
        return child.output
    }

    /// Why the last sessions ended, the latest last, as the agent's log tells.
    var reasons: [TerminationReason] {
        let lines = agent.log.split(separator: "\n").filter {
            $0.contains("provider=") && !$0.contains("provider=node/") && !$0.contains("provider=relay")
        }
        return TerminationReason.all(in: lines.joined(separator: "\n"))
    }

    /// Descriptors that the agent has open, and its memory in kB.
    var descriptors: Int { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(agent.pid)/fd").count) ?? -1 }
    var memory: Int {
        let status = (try? String(contentsOfFile: "/proc/\(agent.pid)/status", encoding: .utf8)) ?? ""
        return status.firstMatch(of: /VmRSS:\s+(\d+)/).flatMap { Int($0.1) } ?? -1
    }
    var mappings: Int {
        let maps = (try? String(contentsOfFile: "/proc/\(agent.pid)/maps", encoding: .utf8)) ?? ""
        return maps.split(separator: "\n").count { $0.contains("memfd:natfwt-provider") }
    }
}

/// Whether somebody listens at a path: its file is there a moment before.
private func isServed(_ path: String, _ kind: __socket_type) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(kind.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
        }
    }
}
