// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
internal import Logging
public import Primitives
public import Telemetry

/// The bounds that a relay keeps for what its nodes open to other hosts.
public struct EgressLimits: Sendable {
    public var connectTimeout: Duration
    /// A UDP flow ends after this long without a datagram either way.
    public var flowTimeout: Duration
    /// How long a connection of which one half has ended may stay without a byte; nil for ever.
    public var halfClosed: Duration?
    /// What is looked up and connected at once for one node, of a name with many addresses each that is being tried; and its
    /// flows at once.
    public var dialsPerNode: Int
    public var flowsPerNode: Int

    public init(
        connectTimeout: Duration, flowTimeout: Duration, halfClosed: Duration?, dialsPerNode: Int, flowsPerNode: Int
    ) {
        self.connectTimeout = connectTimeout
        self.flowTimeout = flowTimeout
        self.halfClosed = halfClosed
        self.dialsPerNode = dialsPerNode
        self.flowsPerNode = flowsPerNode
    }

    var service: ServiceLimits {
        ServiceLimits(connectTimeout: connectTimeout, flowTimeout: flowTimeout, flows: .max, halfClosed: halfClosed)
    }
}

/// The way out to other hosts, for nodes that may take it. Confined to its loop.
///
/// What is asked for is judged in this order: the switch and the node's permission, the port, the address where one was
/// given, the node's bounds; then a name is looked up, and each address judged right before it is connected to, so that
/// nothing lies between the judgement and the use.
public final class Egress {
    /// Nil: nobody is let out. Counts for what begins from then on; ``end(over:)`` ends what is open.
    public var policy: EgressPolicy?
    /// May be changed at any time, for what begins from then on.
    public var limits: EgressLimits {
        didSet { directory.limits = limits.service }
    }
    /// What was asked for and not allowed.
    public private(set) var refusals: UInt64 = 0
    /// What was allowed, and could not be connected.
    public fileprivate(set) var failures: UInt64 = 0

    private let directory: ServiceDirectory
    private let own: OwnAddresses
    private let log: LogSampler
    private let lookups: EgressLookups
    private var services: [Place: Service] = [:]
    private var holdings: [TransportID: Holding] = [:]

    /// What a node goes to by name. Nodes do not share what was looked up: none waits for another's turn.
    private struct Place: Hashable {
        var node: TransportID
        var target: HostAndPort
    }

    /// What one node has under way.
    private struct Holding {
        var dials = 0
        var flows = 0
    }

    /// Names that the whole relay should be able to look up at once: several nodes' share.
    public static let lookupsAtOnce = 8

    /// Names that are remembered, for seconds; more are looked up anew.
    private static let keeps = 1_024

    public init(loop: EventLoop, limits: EgressLimits, log: LogSampler) {
        self.limits = limits
        self.log = log
        directory = ServiceDirectory(loop: loop, limits: limits.service, log: log)
        own = OwnAddresses(loop: loop)
        lookups = EgressLookups(loop: loop)
    }

    /// Connections and flows that are open or being opened.
    public var connections: Int { directory.connections }
    public var flows: Int { directory.flows }

    /// Addresses of this host that its interfaces do not tell of: how it is reached from outside.
    public var outerAddresses: Set<IPAddress> {
        get { own.others }
        set { own.others = newValue }
    }

    /// Decides about an endpoint that a node opens to another host, and connects it.
    /// - Parameters:
    ///   - node: the node's name, for the log.
    ///   - isAllowed: whether the registry lets the node out.
    public func accept(_ endpoint: Endpoint, from node: String, isAllowed: Bool) -> EndpointResetCode? {
        let dial = EgressDial(egress: self, endpoint: endpoint, node: node)
        do throws(EgressPolicy.Rule) {
            let target = try examine(endpoint, isAllowed: isAllowed)
            guard take(dial) else { return .limit }
            endpoint.confirmsLater = true
            return directory.take(endpoint, to: service(target, for: endpoint.remote), gate: dial)
        } catch {
            refused(dial, error)
            return .notAllowed
        }
    }

    /// Breaks off all that a node has open here, for it is no longer let out.
    public func end(over instance: ProviderInstance) {
        for endpoint in instance.endpoints where directory.has(endpoint) { endpoint.reset(.notAllowed) }
    }

    // MARK: Judging

    /// Where the endpoint is to go: a name that a resolver may be asked for, or an address that may be reached.
    private func examine(_ endpoint: Endpoint, isAllowed: Bool) throws(EgressPolicy.Rule) -> HostAndPort {
        guard let policy else { throw .switchedOff }
        guard isAllowed else { throw .node }
        let destination = endpoint.destination
        guard policy.permits(endpoint.kind, destination.port) else { throw .port }
        if let host = destination.host, IPAddress(host) == nil {
            guard HostAndPort.isResolvable(host) else { throw .noHost }
            return HostAndPort(host: host.lowercased(), port: destination.port)
        }
        guard let address = destination.host.flatMap({ IPAddress($0) }) ?? destination.address else { throw .noHost }
        if let rule = policy.refusal(of: address, own: own.current) { throw rule }
        return HostAndPort(host: "\(address.canonical)", port: destination.port)
    }

    /// Judges an address that is about to be connected to.
    fileprivate func permits(_ address: TransportAddress, for dial: EgressDial) -> Bool {
        // The settings may have changed while the name was looked up.
        let rule = policy.map { $0.refusal(of: address.ip, own: own.current) } ?? .switchedOff
        if let rule { refused(dial, rule, at: address) }
        return rule == nil
    }

    private func refused(_ dial: EgressDial, _ rule: EgressPolicy.Rule, at address: TransportAddress? = nil) {
        refusals += 1
        log.log(
            .notice, kind: "egress: \(rule)", now: directory.loop.now, "a node is not let out",
            metadata: [
                "node": "\(dial.node)", "target": "\(dial.target)",
                "address": "\(address.map { "\($0.ip)" } ?? "-")", "why": "\(rule)",
            ])
    }

    fileprivate func failed(_ dial: EgressDial, _ reason: String) {
        failures += 1
        log.log(
            .debug, kind: "egress failed", now: directory.loop.now, "a host does not take what a node opens to it",
            metadata: ["node": "\(dial.node)", "target": "\(dial.target)", "why": "\(reason)"])
    }

    // MARK: Bounds

    /// Counts a node's dial; false where it has too many under way.
    private func take(_ dial: EgressDial) -> Bool {
        var holding = holdings[dial.remote] ?? Holding()
        let bound = holding.dials >= limits.dialsPerNode ? "limits.dials-per-node" : "limits.flows-per-node"
        guard holding.dials < limits.dialsPerNode, !dial.isFlow || holding.flows < limits.flowsPerNode else {
            log.log(
                .warning, kind: "egress \(bound)", now: directory.loop.now,
                "a node is not let out: it has too much under way",
                metadata: ["node": "\(dial.node)", "target": "\(dial.target)", "bound": "\(bound)"])
            return false
        }
        holding.dials += 1
        if dial.isFlow { holding.flows += 1 }
        holdings[dial.remote] = holding
        return true
    }

    /// Counts one more connection that is being made for a dial; false where the node has as many as it may.
    fileprivate func takeAnother(_ node: TransportID) -> Bool {
        guard var holding = holdings[node], holding.dials < limits.dialsPerNode else { return false }
        holding.dials += 1
        holdings[node] = holding
        return true
    }

    fileprivate func release(_ node: TransportID, dials: Int, flows: Int) {
        guard var holding = holdings[node] else { return }
        holding.dials -= dials
        holding.flows -= flows
        holdings[node] = holding.dials > 0 || holding.flows > 0 ? holding : nil
    }

    /// Names are kept, so that a browser that goes to one place many times at once has it looked up once.
    private func service(_ target: HostAndPort, for node: TransportID) -> Service {
        let description = ServiceDescription(target: target)
        guard target.address == nil else { return Service(description, loop: directory.loop) }
        let place = Place(node: node, target: target)
        if let service = services[place] { return service }
        if services.count >= Self.keeps { services = [:] }
        let service = Service(description, loop: directory.loop) { [lookups] name, completion in
            lookups.resolve(name, for: node, completion)
        }
        services[place] = service
        return service
    }
}

/// One endpoint on its way out.
private final class EgressDial: ServiceGate {
    let node: String
    let remote: TransportID
    let isFlow: Bool
    private let destination: EndpointDestination
    private let egress: Egress

    init(egress: Egress, endpoint: Endpoint, node: String) {
        self.egress = egress
        self.node = node
        remote = endpoint.remote
        isFlow = endpoint.kind == .datagram
        destination = endpoint.destination
    }

    /// For the log: the wire has bounded its length, and the log its characters.
    var target: String {
        let host = destination.host ?? destination.address.map { "\($0)" } ?? ""
        return "\(isFlow ? "udp" : "tcp"):\(HostAndPort(host: host, port: destination.port))"
    }

    func permits(_ address: TransportAddress) -> Bool { egress.permits(address, for: self) }

    func failed(_ reason: String, _ code: EndpointResetCode) {
        if code != .notAllowed { egress.failed(self, reason) }
    }

    func takesAnother() -> Bool { egress.takeAnother(remote) }
    func anotherEnded() { egress.release(remote, dials: 1, flows: 0) }
    func settled() { egress.release(remote, dials: 1, flows: 0) }
    func flowEnded() { egress.release(remote, dials: 0, flows: 1) }
}
