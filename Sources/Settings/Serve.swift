// SPDX-License-Identifier: Apache-2.0

public import Identity
internal import Primitives

/// What other nodes may reach on this one: one `[[serve]]`. What none of them allows is refused.
public struct Serve: Hashable, Sendable {
    /// Where services listen unless something else is said.
    public static let usualHost = "127.0.0.1"

    public var transport: PortProtocol
    public var ports: [ClosedRange<UInt16>]
    /// Who may: names of nodes as the relay knows them, fingerprints of their keys, transport IDs, or `*` for every node
    /// of this relay. Never empty where it was read.
    public var to: [String]
    /// Where the services listen, seen from the agent: an address without brackets, or a name.
    public var host: String

    public init(
        transport: PortProtocol, ports: [ClosedRange<UInt16>], to: [String], host: String = Serve.usualHost
    ) {
        self.transport = transport
        self.ports = ports
        self.to = to
        self.host = host
    }

    /// Reads the arguments of `natfwt serve`, and says what is wrong with them.
    public init(transport: PortProtocol, ports: [String], to: [String], host: String) throws(ServeError) {
        guard !ports.isEmpty else { throw .noPorts }
        guard !to.isEmpty else { throw .nobody }
        self.transport = transport
        self.ports = []
        self.to = []
        for text in ports {
            guard let range = PortRule.range(text) else { throw .port(text) }
            if !self.ports.contains(range) { self.ports.append(range) }
        }
        for text in to {
            guard let node = NodeText.peer(text) else { throw .node(text) }
            if !self.to.contains(node) { self.to.append(node) }
        }
        guard let found = Serve.host(host) else { throw .host(host) }
        self.host = found
    }

    /// A host, with or without brackets.
    static func host(_ text: String) -> String? {
        guard text.hasPrefix("["), text.hasSuffix("]") else { return NodeText.host(text) }
        let inner = String(text.dropFirst().dropLast())
        return IPAddress(inner)?.family == .v6 ? NodeText.host(inner) : nil
    }
}

/// What is wrong with the arguments of `natfwt serve`.
public enum ServeError: Error, Equatable, Sendable, CustomStringConvertible {
    case noPorts
    case nobody
    case port(String)
    case node(String)
    case host(String)

    public var description: String {
        switch self {
        case .noPorts: "which ports are served? Say them, as 22 or 8000-8010"
        case .nobody: "who may reach it? Say --to NODE, or --to '*' for every node of this relay"
        case .port(let text): "\"\(printable(text))\": expected \(Serve.expectedPort)"
        case .node(let text): "\"\(printable(text))\": expected \(Serve.expectedPeer)"
        case .host(let text): "\"\(printable(text))\": expected \(Serve.expectedHost)"
        }
    }
}

extension Serve {
    fileprivate static let expectedPort = "a port from 1 to 65535, or a range such as \"8000-8010\""
    fileprivate static let expectedPeer = "\(NodeText.expected), or \"*\" for every node of this relay"
    fileprivate static let expectedHost = "an address or a host name"
}

extension TableReader {
    /// One `[[serve]]`.
    mutating func serve() -> Serve? {
        let transport = required("protocol") { $0.choice("protocol", of: PortProtocol.self) }
        let ports = required("ports") { table in
            table.list("ports", of: Serve.expectedPort) { value in
                switch value {
                case .integer(let number): PortRule.range("\(number)")
                case .string(let text): PortRule.range(text)
                default: nil
                }
            }
        }
        let to = required("to") { table in
            table.list("to", of: Serve.expectedPeer) { value in
                if case .string(let text) = value { NodeText.peer(text) } else { nil }
            }
        }
        let host = value("host", expected: Serve.expectedHost) { value in
            if case .string(let text) = value { Serve.host(text) } else { nil }
        }
        finish()
        guard let transport, let ports, let to else { return nil }
        return Serve(transport: transport, ports: ports, to: to, host: host ?? Serve.usualHost)
    }
}
