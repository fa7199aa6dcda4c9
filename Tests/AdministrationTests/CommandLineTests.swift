// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Foundation
import Identity
import TestSupport
import Testing

/// What a person types, and what the real command line makes of it.
@Suite("The command line", .enabled(if: Natfwt.isBuilt, "needs the natfwt program")) struct CommandLineTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Runs the program to its end, in a folder of its own.
    private func natfwt(_ arguments: String...) async throws -> Child { try await run([Natfwt.binary] + arguments) }

    private func run(_ words: [String]) async throws -> Child {
        let child = try Child("natfwt", words, environment: ["HOME": folder.path], directory: folder.path)
        try await child.ended()
        return child
    }

    private func write(_ text: String, _ name: String) throws -> String {
        try text.write(toFile: folder[name], atomically: true, encoding: .utf8)
        return folder[name]
    }

    // MARK: Help

    @Test(arguments: [
        ["run", "--help"], ["run", "-h"], ["run", "--egress", "--help"], ["run", "--way", "preload", "-h", "true"],
        ["conformance", "--help"], ["conformance", "-h"], ["conformance", "--measure", "--help"],
    ]) func help(words: [String]) async throws {
        let child = try await run([Natfwt.binary] + words)
        #expect(child.exitCode == 0 && child.errors.isEmpty, "\(child.log)")
        #expect(child.output.contains("USAGE: natfwt \(words[0])"), "\(child.log)")
    }

    /// Behind `--`, and behind the command's name, nothing is this program's.
    @Test(arguments: [
        (["run", "--", "--help"], Int32(127), "--help: no such command"),
        (["run", "--bogus"], 64, "--bogus: no such option"),
        (["run"], 64, "error: which command?"), (["run", "--"], 64, "error: which command?"),
        (["conformance"], 64, "error: which provider?"), (["conformance", "--bogus"], 64, "--bogus: no such option"),
        (["conformance", "--", "/none"], 69, "/none: no such file"),
    ]) func passedOn(words: [String], code: Int32, message: String) async throws {
        let child = try await run([Natfwt.binary] + words)
        #expect(child.exitCode == code && child.errors.contains(message), "\(child.log)")
    }

    // MARK: Short options

    @Test(arguments: [["-c1"], ["-c", "1"], ["--count=1"], ["-c=1"]]) func joinedCount(option: [String]) async throws {
        for words in [option + ["home"], ["home"] + option] {
            let child = try await run([Natfwt.binary, "ping", "--socket", folder["none"]] + words)
            #expect(child.exitCode == 69 && child.errors.contains("no agent runs here"), "\(words): \(child.log)")
        }
    }

    @Test func negativeCount() async throws {
        let child = try await natfwt("ping", "-c", "-1", "home")
        #expect(child.exitCode == 64 && child.errors.contains("--count takes 1 to"), "\(child.log)")
    }

    @Test(arguments: ["relay", "agent"]) func joinedConfiguration(program: String) async throws {
        let child = try await natfwt(program, "-c\(folder["none.toml"])")
        #expect(child.exitCode == 78 && child.errors.contains(folder["none.toml"]), "\(child.log)")
    }

    // MARK: Invites

    /// The port of an address that has none is the one that the relay listens on, wherever the address was written.
    @Test(arguments: ["--address=relay.example.com", "public-address = [\"relay.example.com\"]"])
    func invitedPort(address: String) async throws {
        let isOption = address.hasPrefix("-")
        let file = try write(
            "listen = [\"0.0.0.0:4443\"]\nstate-directory = \"state\"\n\(isOption ? "" : address)\n", "relay.toml")
        let child = try await run([Natfwt.binary, "invite", "home", "--config", file] + (isOption ? [address] : []))
        let invite = try Invite(child.output.trimmingCharacters(in: .whitespacesAndNewlines))
        #expect(invite.relays.map(\.description) == ["relay.example.com:4443"])
        #expect(child.errors.isEmpty, "\(child.log)")
    }

    @Test(arguments: [
        (["--address", "foo:0"], "--address foo:0: expected HOST"),
        (["--address", "foo:x"], "--address foo:x: expected HOST"),
        (
            ["--address", "h", "--expires", "10000d"],
            "--expires 10000d: expected a time such as 30m, 24h or 7d, and at most 3660d"
        ),
        (["--address", "fe80::1%eth0"], "fe80::1%eth0"),
    ]) func wrongInvite(options: [String], message: String) async throws {
        let child = try await run(
            [Natfwt.binary, "invite", "home", "--state-directory", folder["state"]] + options)
        #expect(child.exitCode == 64 && child.errors.contains(message), "\(child.log)")
    }

    /// What is allowed and comes to nothing as things are is done, and said.
    @Test(arguments: [
        (["--reach", "nosuch"], "no node and no open invite has the name \"nosuch\"\n"),
        (["--reach", "laptpo"], "has the name \"laptpo\"; did you mean \"laptop\"?\n"),
        (["--egress"], "no node is let out until [egress] has allow = true in "),
        (["--expose", "tcp:80"], "tcp:80 is outside of the relay's expose.ports (tcp:*)"),
        (["--expose", "tcp:1000-2000"], "tcp:1000-2000 is in part outside of"),
        (["--expose", "udp:5000"], "udp:5000 is outside"),
        (["--reach", "laptop", "--reach", "home", "--expose", "tcp:1024-65535"], ""), (["--no-reach"], ""),
        (["--reach", "*"], ""),
    ]) func hints(options: [String], warning: String) async throws {
        let file = try write(
            "public-address = [\"h\"]\nstate-directory = \"state\"\n[expose]\nports = [\"tcp:*\"]\n", "relay.toml")
        let laptop = try await natfwt("invite", "laptop", "--config", file)
        #expect(laptop.exitCode == 0 && laptop.errors.isEmpty, "\(laptop.log)")
        for words in [["invite", "home"], ["nodes", "allow", "home"]] {
            let child = try await run([Natfwt.binary] + words + ["--config", file] + options)
            #expect(child.exitCode == 0, "\(child.log)")
            #expect(warning.isEmpty ? child.errors.isEmpty : child.errors.contains("natfwt: warning: "), "\(child.log)")
            #expect(child.errors.contains(warning) || warning.isEmpty, "\(child.log)")
        }
    }

    @Test func expiredInvite() async throws {
        let state = ["--state-directory", folder["state"]]
        _ = try await run([Natfwt.binary, "invite", "home", "--address", "h:1", "--expires", "1s"] + state)
        try await until("it has expired") {
            let line = try await self.run([Natfwt.binary, "nodes", "list"] + state).output
            return line.hasPrefix("home  invited") && line.contains("  expired 20")
        }
    }

    /// Who only asks needs no right to write: with the log of a relay that runs, and without one.
    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: [false, true])
    func readOnlyRegistry(isRunning: Bool) async throws {
        let state = folder["state"]
        _ = try await natfwt("invite", "home", "--address", "h:1", "--state-directory", state)
        let relay = try await isRunning ? relay(state) : nil
        let child = try await run([
            "/usr/bin/unshare", "--mount", "/bin/sh", "-c",
            """
            mount --bind "\(state)" "\(state)" && mount -o remount,bind,ro "\(state)" &&
                "\(Natfwt.binary)" nodes list --state-directory "\(state)"
            """,
        ])
        #expect(child.exitCode == 0 && child.output.hasPrefix("home  invited"), "\(child.log)")
        await relay?.destroy()
    }

    private func relay(_ state: String) async throws -> Child {
        let runner = try LoopRunner()
        defer { runner.end() }
        let port = try freePort(runner.loop)
        let file = try write(
            "listen = [\"127.0.0.1:\(port)\"]\nstate-directory = \"\(state)\"\nadmin-socket = \"relay.sock\"\n",
            "r.toml")
        let relay = try Child("relay", [Natfwt.binary, "relay", "--config", file], directory: folder.path)
        try await relay.says("the relay is ready")
        return relay
    }

    /// A state directory is one relay's, wherever another would listen; a key is one agent's.
    @Test func oneOfAKind() async throws {
        let state = folder["state"]
        let first = try await relay(state)
        let second = try await natfwt("relay", "--listen", "127.0.0.1:1", "--state-directory", state)
        #expect(second.exitCode == 69 && second.errors.contains("\(state): another relay runs"), "\(second.log)")
        await first.destroy()
        let invite = try await natfwt("invite", "home", "--address", "h:1", "--state-directory", state)
        _ = try await natfwt("join", invite.output.trimmingCharacters(in: .newlines), "--directory", folder.path)
        let key = "SHA256:" + String(repeating: "A", count: 43)
        let file = try write(
            "relay = [\"127.0.0.1:1\"]\nrelay-key = \"\(key)\"\nadmin-socket = \"a.sock\"\n", "agent.toml")
        let other = try write(
            "relay = [\"127.0.0.1:1\"]\nrelay-key = \"\(key)\"\nadmin-socket = \"b.sock\"\n", "other.toml")
        let agent = try Child("agent", [Natfwt.binary, "agent", "--config", file], directory: folder.path)
        try await agent.says("the agent is starting")
        let twin = try await natfwt("agent", "--config", other)
        #expect(twin.exitCode == 69 && twin.errors.contains("node.key: another agent runs"), "\(twin.log)")
        // What the kernel holds goes with the process, however that ends.
        await agent.destroy()
        let next = try Child("agent", [Natfwt.binary, "agent", "--config", other], directory: folder.path)
        try await next.says("the agent is starting")
        await next.destroy()
    }

    // MARK: Errors

    @Test(arguments: [
        (["80", "home:99999"], "where it leads, \"home:99999\": expected a node and its port from 1 to 65535"),
        (["foo", "home:99"], "where to listen, \"foo\": expected a port such as"),
    ]) func forwards(words: [String], message: String) async throws {
        let child = try await run([Natfwt.binary, "forward"] + words)
        #expect(child.exitCode == 64 && child.errors.contains(message), "\(child.log)")
    }

    /// As every program ends whose reader has gone: by the signal, without a word.
    @Test func noReader() async throws {
        let script = """
            mkfifo pipe && exec 4<>pipe && exec 5>pipe && exec 4<&- && "$0" invite home --address h:1 --state-directory s >&5
            """
        let child = try await run(["/bin/sh", "-c", "cd \(folder.path) && \(script)", Natfwt.binary])
        #expect(child.exitCode == 128 + SIGPIPE && child.errors.isEmpty, "\(child.log)")
    }

    @Test func noAnswer() async throws {
        let listener = try SilentListener(folder["silent"])
        defer { listener.close() }
        let child = try await natfwt("status", "--socket", folder["silent"])
        #expect(child.exitCode == 69, "\(child.log)")
        #expect(
            child.errors.contains("\(folder["silent"]): the program does not answer: it is stopped, or hangs\n"),
            "\(child.log)")
        #expect(!child.errors.contains("--socket"))
    }

    @Test func nobodyThere() async throws {
        let child = try await natfwt("status", "--socket", folder["none"])
        #expect(child.exitCode == 69 && child.errors.contains("nobody listens at \(folder["none"])"), "\(child.log)")
    }
}

/// A socket that takes connections and says nothing, as that of a program that is stopped.
private struct SilentListener {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard isBound == 0, listen(descriptor, 4) == 0 else { throw LabError("no socket at \(path)") }
    }

    func close() { Foundation.close(descriptor) }
}
