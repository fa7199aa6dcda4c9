// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
internal import Logging
internal import Primitives
public import Telemetry

/// The bounds that the agent keeps for its services.
public struct ServiceLimits: Sendable {
    public var connectTimeout: Duration
    /// A UDP flow ends after this long without a datagram either way.
    public var flowTimeout: Duration
    /// UDP flows at once.
    public var flows: Int
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?

    public init(connectTimeout: Duration, flowTimeout: Duration, flows: Int, halfClosed: Duration? = nil) {
        self.connectTimeout = connectTimeout
        self.flowTimeout = flowTimeout
        self.flows = flows
        self.halfClosed = halfClosed
    }
}

/// Takes the endpoints that visitors of exposed ports open, and joins each to a connection or a flow to its service.
public final class ServiceDirectory {
    /// A public port by what it carries.
    public struct Port: Hashable, Sendable {
        public var kind: Endpoint.Kind
        public var port: UInt16
        public init(kind: Endpoint.Kind, port: UInt16) {
            self.kind = kind
            self.port = port
        }
    }

    /// Connections and flows that are open.
    public private(set) var connections = 0
    public private(set) var flows = 0
    /// Those that their service did not take.
    public private(set) var failures: UInt64 = 0

    let loop: EventLoop
    /// May be changed at any time, for what begins from then on.
    public var limits: ServiceLimits {
        didSet { connecting.timeout = limits.connectTimeout }
    }
    /// Connections that their services have not taken yet.
    let connecting: ConnectQueue
    private let log: LogSampler
    private var services: [Port: Service] = [:]

    public init(loop: EventLoop, limits: ServiceLimits, log: LogSampler) {
        self.loop = loop
        self.limits = limits
        connecting = ConnectQueue(loop: loop, timeout: limits.connectTimeout)
        self.log = log
    }

    /// Has visitors of the port reach the service.
    public func set(_ description: ServiceDescription, for port: Port) {
        if services[port]?.description == description { return }
        set(Service(description, loop: loop), for: port)
    }

    func set(_ service: Service, for port: Port) { services[port] = service }

    /// Turns new visitors of the port away. Those that are there go on.
    public func remove(_ port: Port) { services[port] = nil }

    /// A connection or flow could not reach its service.
    func failed(_ service: Service, _ reason: String) {
        failures += 1
        log.log(
            .warning, kind: "service \(service.description.target)", now: loop.now,
            "the service does not take the connection",
            metadata: ["service": "\(service.description.target)", "why": "\(reason)"])
    }
}

extension ServiceDirectory: EndpointAcceptor {
    public func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        let port = Port(kind: endpoint.kind, port: endpoint.destination.port)
        guard let service = services[port] else { return .notAllowed }
        return take(endpoint, to: service)
    }

    /// Joins an endpoint to a connection or a flow to the service.
    /// - Parameter gate: says which addresses may be reached; nil where all may. Not called where this does not give nil.
    func take(_ endpoint: Endpoint, to service: Service, gate: (any ServiceGate)? = nil) -> EndpointResetCode? {
        switch endpoint.kind {
        case .stream:
            connections += 1
            let connection = ServiceConnection(
                service: service, endpoint: endpoint, directory: self, gate: gate)
            connection.start()
        case .datagram:
            guard flows < limits.flows else { return .limit }
            flows += 1
            let flow = ServiceFlow(service: service, endpoint: endpoint, directory: self, gate: gate)
            endpoint.application = flow
            flow.start()
        case .packet: return .notAllowed
        }
        return nil
    }

    func flowEnded() { flows -= 1 }

    /// Whether the endpoint was taken here.
    func has(_ endpoint: Endpoint) -> Bool {
        switch endpoint.application {
        case let bridge as StreamBridge: bridge.isOwned(by: self)
        case let flow as ServiceFlow: flow.directory === self
        default: false
        }
    }
}

extension ServiceDirectory: BridgeOwner {
    func bridgeEnded(_ bridge: AnyObject) { connections -= 1 }
}
