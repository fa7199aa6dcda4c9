// SPDX-License-Identifier: Apache-2.0

internal import Identity
public import Primitives

/// Nodes as people write them: by name, by the fingerprint of their key, or by their transport ID.
public enum NodeText {
    /// Stands for every node of the relay.
    public static let everyNode = "*"

    /// What to tell a person who wrote no node.
    public static let expected =
        "a node: its name, its key's fingerprint \"SHA256:…\", or its transport ID"

    /// A node to be reached: its name with or without the suffix, its fingerprint, or its transport ID, in the one form
    /// that each has; nil for anything else.
    public static func destination(_ text: String) -> String? {
        if let exact = fingerprint(text) ?? transportID(text) { return exact }
        return IPAddress(text) == nil ? host(text) : nil
    }

    /// A node that may reach what is served here: its name as the relay knows it, its fingerprint, its transport ID, or
    /// `*`; nil for anything else.
    public static func peer(_ text: String) -> String? {
        if text == everyNode { return text }
        if let exact = fingerprint(text) ?? transportID(text) { return exact }
        return (try? NodeName(text))?.text
    }

    /// Reads `home:5432`, `home.natfwt.internal:5432`, `[2001:2x:…]:5432` or `SHA256:…:5432`, with or without brackets.
    public static func service(_ text: String) -> HostAndPort? {
        guard let colon = text.lastIndex(of: ":"), let port = PortText.one(text[text.index(after: colon)...]) else {
            return nil
        }
        var name = text[..<colon]
        if name.hasPrefix("[") && name.hasSuffix("]") { name = name.dropFirst().dropLast() }
        if let node = fingerprint(String(name)) { return HostAndPort(host: node, port: port) }
        return HostAndPort(text).flatMap { named in host(named.host).map { HostAndPort(host: $0, port: port) } }
    }

    /// A host name in small letters, or an address in its usual form.
    static func host(_ text: String) -> String? {
        if let address = IPAddress(text) { return address.description }
        guard !text.contains(":"), let named = HostAndPort("\(text):1") else { return nil }
        return named.host.lowercased()
    }

    private static func fingerprint(_ text: String) -> String? { NodeID(text)?.description }

    private static func transportID(_ text: String) -> String? {
        IPAddress(text).flatMap { $0.isORCHID ? $0.description : nil }
    }
}

/// Domain names as settings have them.
enum DomainText {
    /// With a node's name and a dot before it, a name has at most 253 characters (RFC 1035, 2.3.4).
    static let maximumSuffix = 253 - 64

    /// The suffix of host names in small letters; nil where it is none (RFC 1123, 2.1).
    static func suffix(_ text: String) -> String? {
        guard text.utf8.count <= maximumSuffix, IPAddress(text) == nil, !text.hasSuffix("."),
            !text.contains("_"), HostAndPort("\(text):1") != nil
        else { return nil }
        return text.lowercased()
    }
}
