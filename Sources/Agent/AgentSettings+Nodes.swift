// SPDX-License-Identifier: Apache-2.0

internal import Settings

// Fixed until the settings have them.
extension AgentSettings {
    var nameSuffix: String { "natfwt.internal" }
    var knownNodes: String { key.lastIndex(of: "/").map { "\(key[...$0])known-nodes" } ?? "known-nodes" }
}
