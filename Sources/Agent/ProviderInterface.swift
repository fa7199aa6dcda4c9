// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Providers
internal import Redirection
internal import Telemetry

/// The network interface of an external provider's instance, and of those that take it up again: a device of this host
/// whose packets the provider carries as they are.
final class ProviderInterface {
    /// What the kernel calls the device; it puts the first number that is free.
    static let deviceName = "natfwt-p%d"
    /// So that a device which leads to all nodes, such as the adapter's, is taken for those that no provider is known to reach.
    private static let fallbackMetric: UInt32 = 4_096
    private static let nodeMetric: UInt32 = 64
    /// Flows of packets that are known at once.
    private static let mostFlows = 4_096
    /// Packets that wait for the provider's word on who has sent them.
    private static let mostHeld = 32

    let luid: InterfaceLUID
    let adapter: Adapter
    let router: InstanceRouter
    /// The nodes whose packets this host sends here.
    private(set) var routed: Set<TransportID> = []
    /// Since when no instance has it.
    var idleSince: Instant?
    private let network: NetworkInterface
    private var alias = ""
    private var held: [(packet: [UInt8], remote: TransportID)] = []

    /// Makes the device, with a node's transport ID as its address.
    init(
        for luid: InterfaceLUID, loop: EventLoop, address: IPAddress, served: ServedPorts, router: InstanceRouter,
        names: AdapterNames, flowTimeout: Duration, log: LogSampler
    ) throws(UVError) {
        self.luid = luid
        self.router = router
        let file = try PacketDeviceFile.open(named: ProviderInterface.deviceName)
        try file.refuseOffload()
        network = try NetworkInterface(named: file.name)
        router.network = network
        try file.configure(address: address, prefix: 128, mtu: Adapter.mtu)
        try network.addRoute(
            to: IPAddress(v6: (address.value >> 100) << 100), prefix: Adapter.prefix,
            metric: ProviderInterface.fallbackMetric)
        adapter = try Adapter(
            loop: loop, file: file, address: address, served: served, router: router, names: names,
            limits: AdapterLimits(flows: ProviderInterface.mostFlows, flowTimeout: flowTimeout), log: log)
    }

    /// The name for people, as the instance is called now.
    func setAlias(_ text: String) {
        guard text != alias else { return }
        // A name for people is worth no trouble.
        try? network.setAlias(text)
        alias = text
    }

    /// Leads this host's packets to these nodes, and to no others, here.
    func route(to nodes: Set<TransportID>) {
        for node in nodes.subtracting(routed) {
            try? network.addRoute(to: node.address, prefix: 128, metric: ProviderInterface.nodeMetric)
        }
        for node in routed.subtracting(nodes) {
            try? network.removeRoute(to: node.address, prefix: 128, metric: ProviderInterface.nodeMetric)
        }
        routed = nodes
    }

    /// Keeps a packet until it is known whether its sender is reached, or drops it where too many wait.
    func hold(_ packet: RawSpan, from remote: TransportID) {
        guard held.count < ProviderInterface.mostHeld, packet.byteCount <= Adapter.mtu else { return }
        var copy = ByteWriter()
        copy.write(packet)
        held.append((copy.bytes, remote))
    }

    /// Gives out what waits: each packet once, to be delivered, held again or dropped.
    func release(_ decide: (RawSpan, TransportID) -> Void) {
        let all = held
        held = []
        for entry in all { decide(entry.packet.rawSpan, entry.remote) }
    }

    func close() {
        held = []
        adapter.close()
    }
}

/// Leads to the nodes that one instance reaches, and nowhere else.
final class InstanceRouter: PacketRouter {
    /// Whose interface it is; nil while it is nobody's.
    weak var instance: ProviderInstance?
    /// Where the packets pass.
    var network: NetworkInterface?
    /// Somebody wants to send to a node.
    var onDemand: ((TransportID) -> Void)?
    private let loop: EventLoop
    private unowned let platform: Platform
    private let providers: ExternalProviders
    private let local: TransportID
    private let knownBy: (TransportID) -> [String]

    /// - Parameters:
    ///   - local: this node's transport ID.
    ///   - knownBy: all by which a node is known.
    init(
        loop: EventLoop, platform: Platform, providers: ExternalProviders, local: TransportID,
        knownBy: @escaping (TransportID) -> [String]
    ) {
        self.loop = loop
        self.platform = platform
        self.providers = providers
        self.local = local
        self.knownBy = knownBy
    }

    var carriesOffload: Bool { false }

    func names(of node: TransportID) -> [String] { knownBy(node) }

    /// By the user whose socket it is. A packet whose socket is gone already may be anybody's.
    func mayBegin(_ kind: Endpoint.Kind, from local: TransportAddress, to remote: TransportAddress) -> Bool {
        guard let instance, let admitted = providers.provider(of: instance)?.admitted else { return false }
        if admitted.admits(.anybody) { return true }
        let owner = network?.owner(isTCP: kind == .stream, from: local, to: remote)
        return owner.map { admitted.admits(.user($0)) } ?? false
    }

    func openPackets(
        to node: TransportID, application: any EndpointApplication,
        completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        guard let instance, instance.state == .active else {
            return completion(.failure(RouteFailure(.unreachable, "the provider has no session")))
        }
        onDemand?(node)
        do throws(PlatformError) {
            completion(
                .success(
                    try platform.openEndpoint(
                        kind: .packet, from: local, to: node, destination: EndpointDestination(port: 0),
                        over: instance, application: application, now: loop.now)))
        } catch {
            completion(.failure(RouteFailure(EndpointResetCode(error), "\(node): \(error)")))
        }
    }
}
