// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension NetworkTests.Programs {
    ///     office: bob (of the group) ─▶ /run/natfwt/agent.sock ─▶ agent (a user of its own) ══ relay ══ home
    ///
    /// The system's agent as its unit runs it, and who of the host's users may ask it.
    @Suite("The system's agent")
    struct SystemAgentTests {
        private static let serve = "\n[[serve]]\nprotocol = \"tcp\"\nports = [7000]\nto = [\"laptop\"]\n"
        /// The agent's group (`unit.py`), and two users of the host.
        private static let (group, bob, carol) = (61_234, 61_001, 61_002)

        /// The office's agent as its unit runs it, its socket where the settings' default has it.
        private struct Office {
            let machine: Namespace
            let agent: Child
            private let inside: [String]

            init(_ deployment: Deployment) async throws {
                machine = try #require(deployment.lab.office)
                let directory = "\(deployment.lab.directory)/office"
                let invited = try await deployment.invite("laptop")
                try await machine.check([Natfwt.binary, "join", invited.text, "--directory", directory])
                // A /run of this host's own, with the runtime folder that systemd would make.
                let script = """
                    mount -t tmpfs none /run && mkdir /run/natfwt &&
                        mount -t tmpfs -o mode=755,uid=$0,gid=$0 none /run/natfwt && echo ready && exec sleep 1000
                    """
                let host = try machine.start(
                    ["unshare", "--mount", "sh", "-c", script, "\(SystemAgentTests.group)"], as: "host")
                try await host.says("ready")
                inside = ["nsenter", "--mount", "--target", "\(host.pid)"]
                agent = try machine.start(
                    inside + SystemdUnit.agent.wrapper(state: directory)
                        + [Natfwt.binary, "agent", "--config", "\(directory)/agent.toml"], as: "agent")
                try await agent.says("session active")
            }

            /// A command of a user of this host.
            func natfwt(as user: Int, in groups: [Int], _ arguments: String...) async throws -> Output {
                let list =
                    groups.isEmpty ? ["--clear-groups"] : ["--groups", groups.map(String.init).joined(separator: ",")]
                return try await machine.run(
                    inside + ["setpriv", "--reuid", "\(user)", "--regid", "\(user)"] + list
                        + ["env", "-u", "XDG_RUNTIME_DIR", "HOME=/nonexistent", Natfwt.binary] + arguments)
            }
        }

        private func site(_ body: (Deployment, Office) async throws -> Void) async throws {
            try await Lab.run(neighbour: true) { lab in
                let deployment = try Deployment(lab)
                try await deployment.start([], more: Self.serve)
                _ = try await lab.home.serve(port: 7000, "echo")
                try await body(deployment, try await Office(deployment))
            }
        }

        @Test(
            "the members of its group ask it without naming it, and it runs their commands",
            .enabled(if: Tool.has("cc")))
        func members() async throws {
            let root = URL(fileURLWithPath: #filePath).pathComponents.dropLast(3).joined(separator: "/").dropFirst()
            let folder = (Natfwt.binary as NSString).deletingLastPathComponent
            try await site { _, office in
                let built = try await office.machine.run(["\(root)/deploy/interposer", folder])
                #expect(built.code == 0, "\(built)")
                let status = try await office.natfwt(as: Self.bob, in: [Self.group], "status")
                #expect(status.code == 0 && status.output.hasPrefix("agent SHA256:"), "\(status)")
                let ping = try await office.natfwt(as: Self.bob, in: [Self.group], "ping", "-c1", "home")
                #expect(ping.code == 0 && ping.output.hasPrefix("home ("), "\(ping)")
                let script = """
                    import socket
                    end = socket.create_connection(("home.natfwt.internal", 7000), 5)
                    end.sendall(b"bob")
                    print(end.recv(3).decode())
                    """
                let run = try await office.natfwt(
                    as: Self.bob, in: [Self.group], "run", "--", Tool.python, "-c", script)
                #expect(run.code == 0 && run.text == "bob", "\(run)")
            }
        }

        @Test("others are told who may ask it; where it does not run, where it was looked for")
        func others() async throws {
            try await site { _, office in
                let ping = try await office.natfwt(as: Self.carol, in: [], "ping", "-c1", "home")
                #expect(ping.code == 69 && ping.log.contains("/run/natfwt/agent.sock: permission denied"), "\(ping)")
                #expect(ping.log.contains("only the agent's user"), "\(ping)")
                let status = try await office.natfwt(as: Self.carol, in: [], "status")
                #expect(status.code == 69 && status.log.contains("only the program's user"), "\(status)")
                let mine = "/nonexistent/.local/state/natfwt/natfwt/agent.sock"
                office.agent.signal(SIGTERM)
                try await office.agent.ended()
                let nobody = try await office.natfwt(as: Self.bob, in: [], "ping", "home")
                #expect(nobody.code == 69, "\(nobody)")
                #expect(nobody.log.contains("nobody listens at \(mine) or /run/natfwt/agent.sock"), "\(nobody)")
            }
        }

        @Test("root's commands find the settings of the unit")
        func unitSettings() async throws {
            try await Lab.run { lab in
                let result = try await lab.home.run([
                    "unshare", "--mount", "sh", "-c",
                    """
                    mount -t tmpfs none /var/lib && mkdir /var/lib/natfwt-agent &&
                        echo 'rely = 1' > /var/lib/natfwt-agent/agent.toml && exec "$0" agent
                    """, Natfwt.binary,
                ])
                #expect(
                    result.code == 78 && result.log.contains("/var/lib/natfwt-agent/agent.toml:1: rely"), "\(result)")
            }
        }
    }
}
