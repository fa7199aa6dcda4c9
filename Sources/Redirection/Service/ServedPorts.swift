// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
internal import EventLoop
internal import Logging
internal import Primitives
public import Telemetry

/// Ports of this node that some other nodes may reach.
public struct ServeRule: Hashable, Sendable {
    /// `.stream` for TCP, `.datagram` for UDP.
    public var kind: Endpoint.Kind
    public var ports: [ClosedRange<UInt16>]
    /// Names, fingerprints or transport IDs of nodes; `*` for every node.
    public var nodes: Set<String>
    /// Where the services listen.
    public var host: String

    public init(kind: Endpoint.Kind, ports: [ClosedRange<UInt16>], nodes: Set<String>, host: String) {
        self.kind = kind
        self.ports = ports
        self.nodes = nodes
        self.host = host
    }

    func permits(_ kind: Endpoint.Kind, _ port: UInt16, for names: [String]) -> Bool {
        self.kind == kind && ports.contains { $0.contains(port) } && isFor(names)
    }

    func isFor(_ names: [String]) -> Bool { nodes.contains("*") || names.contains { nodes.contains($0) } }

    /// Whether the services are this host's own, so that packets to it reach them too.
    var isForThisHost: Bool { host == "localhost" || IPAddress(host)?.isLoopback == true }
}

/// What other nodes reach here: nothing but what a rule names. Confined to its loop.
public final class ServedPorts {
    /// May be changed at any time, for what begins from then on.
    public var rules: [ServeRule] = [] {
        didSet { generation &+= 1 }
    }
    /// Another one after each change of the rules.
    private(set) var generation: UInt32 = 0
    /// What was asked for and is not served.
    public private(set) var refusals: UInt64 = 0

    private let directory: ServiceDirectory
    private let log: LogSampler
    private var services: [HostAndPort: Service] = [:]

    /// Services that are remembered; more are looked up anew.
    private static let keeps = 1_024

    /// - Parameter directory: makes the connections and keeps their bounds.
    public init(directory: ServiceDirectory, log: LogSampler) {
        self.directory = directory
        self.log = log
    }

    /// Decides about an endpoint that another node opened, and joins it to its service.
    /// - Parameter names: all by which the node is known: its transport ID, its key's fingerprint, its name.
    public func accept(_ endpoint: Endpoint, from names: [String]) -> EndpointResetCode? {
        let port = endpoint.destination.port
        let isForThisNode = endpoint.destination.address == nil && endpoint.destination.host == nil
        guard isForThisNode, let rule = rules.first(where: { $0.permits(endpoint.kind, port, for: names) }) else {
            refusals += 1
            log.log(
                .notice, kind: "not served", now: directory.loop.now, "a node asked for what is not served to it",
                metadata: [
                    "node": "\(names.last ?? "?")", "port": "\(endpoint.kind == .stream ? "tcp" : "udp"):\(port)",
                ])
            return .notAllowed
        }
        // The other node's application is told once the service has taken the connection.
        endpoint.confirmsLater = endpoint.kind == .stream
        return directory.take(endpoint, to: service(HostAndPort(host: rule.host, port: port)))
    }

    /// Whether packets of a node may come in for a port of this host.
    func permitsPackets(_ kind: Endpoint.Kind, to port: UInt16, from names: [String]) -> Bool {
        rules.contains { $0.isForThisHost && $0.permits(kind, port, for: names) }
    }

    /// Whether a node may reach anything of this host by packets.
    func permitsPackets(from names: [String]) -> Bool { rules.contains { $0.isForThisHost && $0.isFor(names) } }

    private func service(_ target: HostAndPort) -> Service {
        if let service = services[target] { return service }
        if services.count >= Self.keeps { services = [:] }
        let service = Service(ServiceDescription(target: target), loop: directory.loop)
        services[target] = service
        return service
    }
}
