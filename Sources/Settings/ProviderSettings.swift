// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The table `[providers]`: which programs of this host may carry this node's traffic, through the C API.
public struct ProviderSettings: Equatable, Sendable {
    /// The Unix socket on which they register; nil: beside the admin socket; empty: none registers.
    public var socket: String?
    /// Users, and groups with `%` before them, whose programs may register beside those of root and the agent's own user.
    public var allow: [String] = []
    /// How long a provider may take to complete a call; past it its session ends.
    public var deadline = Duration.seconds(10)
    /// Which way to a node is taken where there are both.
    public var prefer = Way.provider
    /// Whether each provider has a network interface of this host. Who has sent a packet that comes in there is the provider's
    /// word.
    public var interfaces = false

    /// A way to another node.
    public enum Way: String, CaseIterable, Sendable {
        /// A provider that reaches it; through the relay where none does.
        case provider
        /// Through the relay; a provider where there is no session with the relay.
        case relay
    }

    /// The defaults.
    public init() {}

    init(from table: inout TableReader) {
        let file = table.problems.file
        socket = table.value("socket", expected: "a path of at most 107 bytes, or \"off\"") { value in
            guard case .string(let text) = value, !text.isEmpty else { return nil }
            if text == "off" { return "" }
            let path = resolved(text, beside: file)
            return path.utf8.count <= 107 ? path : nil
        }
        allow =
            table.list("allow", of: "a user's name, or a group's with % before it", mayBeEmpty: true) { value in
                guard case .string(let text) = value, !text.isEmpty, text != "%" else { return nil }
                return text
            } ?? []
        deadline = table.duration("deadline", TunnelBounds.wait, default: deadline)
        prefer = table.choice("prefer", default: prefer)
        interfaces = table.boolean("interfaces", default: interfaces)
        table.finish()
    }
}

extension AgentSettings {
    /// Where providers register; nil where none may.
    public var providerSocket: String? {
        guard let socket = providers.socket else {
            return (adminSocket.lastIndex(of: "/").map { adminSocket[...$0] } ?? "") + "providers.sock"
        }
        return socket.isEmpty ? nil : socket
    }
}
