// SPDX-License-Identifier: Apache-2.0

import Foundation
import Primitives
import Testing

@testable import Settings

/// config/ is what users copy: it loads, it is complete, and it says the defaults that are built in.
@Suite struct ConfigurationFilesTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "config").path

    @Test func relayFileSaysTheDefaults() throws {
        #expect(try RelaySettings.load(path: "\(Self.folder)/relay.toml") == RelaySettings())
    }

    @Test func agentFileSaysTheDefaults() throws {
        let settings = try AgentSettings.load(path: "\(Self.folder)/agent.toml")
        var expected = AgentSettings()
        expected.relay = [HostAndPort(host: "relay.example.com", port: 443)]
        expected.relayKey = AgentSettingsTests.fingerprint
        expected.key = "\(Self.folder)/node.key"
        expected.name = "home"
        let ssh = HostAndPort(host: "127.0.0.1", port: 22)
        expected.expose = [
            Exposure(transport: .tcp, service: ssh, port: 2222, proxyProtocol: true, name: "ssh"),
            Exposure(transport: .udp, service: HostAndPort(host: "127.0.0.1", port: 5353), name: "dns"),
        ]
        expected.serve = [Serve(transport: .tcp, ports: [22...22, 8000...8010], to: ["laptop"])]
        expected.forward = [try Forward(listen: "15432", target: "office:5432")]
        expected.knownNodes = "\(Self.folder)/known-nodes"
        #expect(settings == expected)
    }

    /// What is commented out because it is no default is right too.
    @Test func agentFileShowsSOCKS() throws {
        let text = try String(contentsOfFile: "\(Self.folder)/agent.toml", encoding: .utf8)
        let keys = ["[socks]", "listen =", "user =", "password =", "[adapter]", "name ="].map { "\n# \($0)" }
        let whole = keys.reduce(text) { $0.replacing($1, with: "\n" + $1.dropFirst(3)) }
        let settings = try AgentSettings.parse(whole, file: "agent.toml")
        #expect(settings.socks?.listen == ListenText.parse("1080"))
        #expect(settings.socks?.credentials == SOCKSCredentials(user: "me", password: "…"))
        #expect(settings.adapter == AdapterSettings())
        #expect(settings.forward.count == 1 && settings.warnings.isEmpty)
    }

    @Test func agentFileShowsTheGateway() throws {
        let text = try String(contentsOfFile: "\(Self.folder)/agent.toml", encoding: .utf8)
        let keys = ["[gateway]", "port = 4080", "egress =", "names ="].map { "\n# \($0)" }
        let whole = keys.reduce(text) { $0.replacing($1, with: "\n" + $1.dropFirst(3)) }
        #expect(try AgentSettings.parse(whole, file: "agent.toml").gateway == GatewaySettings())
    }

    /// Each property has its key in the file, by the same name with hyphens.
    @Test func relayFileIsComplete() throws {
        let text = try String(contentsOfFile: "\(Self.folder)/relay.toml", encoding: .utf8)
        #expect(try keys(of: RelaySettings()) == paths(TOMLDocument.parse(text, file: "r")))
    }

    @Test func agentFileIsComplete() throws {
        let text = try String(contentsOfFile: "\(Self.folder)/agent.toml", encoding: .utf8)
        let written = try paths(TOMLDocument.parse(text, file: "a"))
        #expect(
            keys(of: AgentSettings()).subtracting(["warnings"])
                == written.union(["invite", "socks", "adapter", "gateway", "providers.socket"]))
        #expect(
            ["invite = ", "[socks]\n", "[adapter]\n", "[gateway]\n"].allSatisfy { text.contains("\n# \($0)") })
    }

    private func keys(of settings: Any, _ prefix: String = "") -> Set<String> {
        Mirror(reflecting: settings).children.reduce(into: []) { all, child in
            let name = (child.label ?? "").reduce(into: "") {
                $0 += $1.isUppercase ? "-" + $1.lowercased() : String($1)
            }
            let isTable =
                ["limits", "timeouts", "log", "egress", "providers", "direct"].contains(name)
                || child.value is RelaySettings.Expose
            all.insert(prefix + name)
            if isTable { all.formUnion(keys(of: child.value, prefix + name + ".")) }
        }
    }

    private func paths(_ node: TOMLNode, _ prefix: String = "") -> Set<String> {
        guard case .table(let entries) = node.value else { return [] }
        return entries.reduce(into: []) { all, entry in
            all.insert(prefix + entry.key)
            all.formUnion(paths(entry.value, prefix + entry.key + "."))
        }
    }
}
