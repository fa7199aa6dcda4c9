// SPDX-License-Identifier: Apache-2.0

internal import Primitives

extension AgentSettings {
    /// The text of the `agent.toml` that `natfwt join` writes: what these settings say, with a comment to each part.
    /// What has its default is left out or commented out, so that a later version's better default is taken.
    /// Reading the text gives the same settings, where paths are absolute and limits and timeouts are the defaults.
    public func render() -> String {
        var text = "# natfwt agent: joins this host to a relay and exposes its services there.\n"
        text += "# After a change: systemctl reload natfwt-agent, or kill -HUP.\n\n"
        text +=
            "# The relay's addresses, tried in this order, and the fingerprint of its key: any other key is refused.\n"
        text += "relay = [\(relay.map { TOMLText.quoted($0.description) }.joined(separator: ", "))]\n"
        if let relayKey { text += "relay-key = \(TOMLText.quoted(relayKey))\n" }
        text += "\n# This node's own key; keep it secret, and keep a copy: the relay knows this node by it.\n"
        text += "key = \(TOMLText.quoted(key))\n"
        if let name { text += "name = \(TOMLText.quoted(name))\n" }
        if let invite {
            text +=
                "# Used once, at the first connection; may be removed after it.\ninvite = \(TOMLText.quoted(invite))\n"
        }
        if adminSocket != AgentSettings().adminSocket { text += "admin-socket = \(TOMLText.quoted(adminSocket))\n" }
        let defaults = AgentSettings()
        if nameSuffix != defaults.nameSuffix { text += "name-suffix = \(TOMLText.quoted(nameSuffix))\n" }
        if knownNodes != defaults.knownNodes { text += "known-nodes = \(TOMLText.quoted(knownNodes))\n" }
        text += "\n# What is to be reached through the relay, one [[expose]] each.\n"
        text += expose.isEmpty ? AgentSettings.example : expose.map(\.rendered).joined(separator: "\n")
        text += "\n# What other nodes may reach on this one, one [[serve]] each; nothing, where there is none.\n"
        text += serve.isEmpty ? AgentSettings.serveExample : serve.map(\.rendered).joined(separator: "\n")
        text += forward.map { "\n" + $0.rendered }.joined()
        if let socks { text += "\n" + socks.rendered }
        if let adapter { text += "\n[adapter]\nname = \(TOMLText.quoted(adapter.name))\n" }
        if log != LogSettings() {
            text += "\n[log]\nlevel = \"\(log.level.rawValue)\"\nformat = \"\(log.format.rawValue)\"\n"
        }
        return text
    }

    private static let example = """
        # [[expose]]
        # protocol = "tcp"              # or "udp"
        # service = "127.0.0.1:22"      # where the service listens
        # port = 2222                   # the relay's public port; leave it out to get one that is free
        # proxy-protocol = "v2"         # tell the service the visitor's address; only if it expects that
        # name = "ssh"

        """

    private static let serveExample = """
        # [[serve]]
        # protocol = "tcp"              # or "udp"
        # ports = [22, "8000-8010"]
        # to = ["laptop"]               # names of nodes, or "*" for every node of this relay

        """
}

extension Exposure {
    fileprivate var rendered: String {
        var text = "[[expose]]\nprotocol = \"\(transport.rawValue)\"\n"
        text += "service = \(TOMLText.quoted(service.description))\n"
        if port > 0 { text += "port = \(port)\n" }
        if proxyProtocol { text += "proxy-protocol = \"v2\"\n" }
        if !name.isEmpty { text += "name = \(TOMLText.quoted(name))\n" }
        return text
    }
}

extension Serve {
    fileprivate var rendered: String {
        let ports = ports.map { $0.count == 1 ? PortText.text($0) : TOMLText.quoted(PortText.text($0)) }
        var text = "[[serve]]\nprotocol = \"\(transport.rawValue)\"\nports = [\(ports.joined(separator: ", "))]\n"
        text += "to = [\(to.map(TOMLText.quoted).joined(separator: ", "))]\n"
        if host != Serve.usualHost { text += "host = \(TOMLText.quoted(host))\n" }
        return text
    }
}

extension Forward {
    fileprivate var rendered: String {
        let listen = TOMLText.quoted(ListenText.text(listen))
        return "[[forward]]\nlisten = \(listen)\nto = \(TOMLText.quoted(target.description))\n"
    }
}

extension SOCKSListener {
    fileprivate var rendered: String {
        var text = "[socks]\nlisten = \(TOMLText.quoted(ListenText.text(listen)))\n"
        if let credentials {
            text += "user = \(TOMLText.quoted(credentials.user))\n"
            text += "password = \(TOMLText.quoted(credentials.password))\n"
        }
        return text
    }
}

enum TOMLText {
    /// `text` as a basic string (TOML 1.0, "String").
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
