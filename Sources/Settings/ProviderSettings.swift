// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The table `[providers]`: which programs of this host may carry this node's traffic, through the C API.
public struct ProviderSettings: Equatable, Sendable {
    /// The Unix socket on which they register; empty: none does.
    public var socket = "/run/natfwt/providers.sock"
    /// Users, and groups with `%` before them, whose programs may register beside those of root and the agent's own user.
    public var allow: [String] = []
    /// How long a provider may take to complete a call; past it its session ends.
    public var deadline = Duration.seconds(10)
    /// Which way to a node is taken where there are both.
    public var prefer = Way.provider

    /// A way to another node.
    public enum Way: String, CaseIterable, Sendable {
        /// A provider that reaches it; through the relay where none does.
        case provider
        /// Through the relay; a provider where there is no session with the relay.
        case relay
    }

    /// The defaults.
    public init() {}

    /// - Parameter folder: where the admin socket is: the other one's default place.
    init(from table: inout TableReader, beside adminSocket: String) {
        let folder = adminSocket.lastIndex(of: "/").map { adminSocket[...$0] } ?? ""
        let (usual, file) = (folder + "providers.sock", table.problems.file)
        socket =
            table.value("socket", expected: "a path of at most 107 bytes, or \"off\"") { value in
                guard case .string(let text) = value, !text.isEmpty else { return nil }
                if text == "off" { return "" }
                let path = resolved(text, beside: file)
                return path.utf8.count <= 107 ? path : nil
            } ?? String(usual)
        allow =
            table.list("allow", of: "a user's name, or a group's with % before it", mayBeEmpty: true) { value in
                guard case .string(let text) = value, !text.isEmpty, text != "%" else { return nil }
                return text
            } ?? []
        deadline = table.duration("deadline", TunnelBounds.wait, default: deadline)
        prefer = table.choice("prefer", default: prefer)
        table.finish()
    }
}
