// SPDX-License-Identifier: Apache-2.0

public import Identity
public import Primitives

/// A service to be reached through a public port of the relay: one `[[expose]]`, or one port of its range.
public struct Exposure: Hashable, Sendable {
    /// What the public port carries, and the service speaks.
    public var transport: PortProtocol
    /// Where the service listens, seen from the agent.
    public var service: HostAndPort
    /// The relay's public port; 0: the relay chooses.
    public var port: UInt16
    /// Whether the service is told the visitor's address by a PROXY protocol v2 header. TCP only.
    public var proxyProtocol: Bool
    /// For logs and `natfwt status`; empty where none was given.
    public var name: String

    /// An exposure as the command line gives it.
    public init(
        transport: PortProtocol, service: HostAndPort, port: UInt16 = 0, proxyProtocol: Bool = false, name: String = ""
    ) {
        self.transport = transport
        self.service = service
        self.port = port
        self.proxyProtocol = proxyProtocol
        self.name = name
    }
}

/// What follows a service's host: one port, or as many as are exposed.
struct ServicePorts {
    let host: String
    let ports: ClosedRange<UInt16>

    /// Reads `127.0.0.1:22`, `[::1]:22`, `name:22` or, for many, `127.0.0.1:3000-3010`.
    init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let ports = PortRule.range(String(text[text.index(after: colon)...])),
            let first = HostAndPort("\(text[...colon])\(ports.lowerBound)")
        else { return nil }
        host = first.host
        self.ports = ports
    }
}

enum ProxyProtocolVersion: String, CaseIterable { case v2 }

extension TableReader {
    /// One `[[expose]]` as the ports that it stands for.
    mutating func exposures() -> [Exposure] {
        let portLine = line(of: "port")
        let proxyLine = line(of: "proxy-protocol")
        let transport = required("protocol") { $0.choice("protocol", of: PortProtocol.self) }
        let service = required("service") { $0.service() }
        let ports = publicPorts()
        let version = choice("proxy-protocol", of: ProxyProtocolVersion.self)
        let name = exposureName()
        finish()
        guard let transport, let service else { return [] }
        if version != nil && transport == .udp { problem("proxy-protocol", line: proxyLine, "is for tcp only") }
        if let ports, ports.count != service.ports.count {
            let message = "expected as many ports as the service has (\(service.ports.count)), found \(ports.count)"
            problem("port", line: portLine, message)
            return []
        }
        return service.ports.enumerated().map { offset, port in
            Exposure(
                transport: transport, service: HostAndPort(host: service.host, port: port),
                port: ports.map { $0.lowerBound + UInt16(offset) } ?? 0, proxyProtocol: version != nil,
                name: service.ports.count > 1 && !name.isEmpty ? "\(name)-\(port)" : name)
        }
    }

    /// What `read` finds at `key`; where the key is absent, that is a problem.
    mutating func required<T>(_ key: String, _ read: (inout TableReader) -> T?) -> T? {
        let isThere = has(key)
        let value = read(&self)
        if !isThere { problem(key, line: line, "is missing") }
        return value
    }

    private mutating func service() -> ServicePorts? {
        value("service", expected: "a \"host:port\" or a \"host:first-last\" with ports from 1 to 65535") { value in
            if case .string(let text) = value { ServicePorts(text) } else { nil }
        }
    }

    /// The wanted ports; nil where the relay is to choose.
    private mutating func publicPorts() -> ClosedRange<UInt16>? {
        let expected = "a port from 1 to 65535, 0 for one that the relay chooses, or a range such as \"20000-20010\""
        let read: ClosedRange<UInt16>?? = value("port", expected: expected) { value in
            switch value {
            case .integer(0): .some(nil)
            case .integer(let number): UInt16(exactly: number).map { .some($0...$0) }
            case .string(let text): PortRule.range(text).map { .some($0) }
            default: nil
            }
        }
        return read ?? nil
    }

    private mutating func exposureName() -> String {
        value("name", expected: "a name of 1 to 64 printable characters") { value in
            guard case .string(let text) = value, isName(text) else { return nil }
            return text
        } ?? ""
    }
}

/// A name that may stand in a log line and in a status table.
func isName(_ text: String) -> Bool {
    (1...64).contains(text.unicodeScalars.count) && printable(text) == text
        && text.unicodeScalars.allSatisfy { !$0.properties.isWhitespace || $0 == " " }
}
