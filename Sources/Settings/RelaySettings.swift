// SPDX-License-Identifier: Apache-2.0

public import Identity
public import Primitives

/// What `relay.toml` says: every key with its built-in default. config/relay.toml tells the meaning of each in full.
public struct RelaySettings: Equatable, Sendable {
    /// Where nodes connect.
    public var listen = [TransportAddress(.anyV4, port: 443), TransportAddress(.anyV6, port: 443)]
    /// The folder of the registry and of the relay's key.
    public var stateDirectory = "/var/lib/natfwt"
    /// How nodes reach this relay, for invites; empty: the caller finds it out or asks.
    public var publicAddress: [HostAndPort] = []
    /// The Unix socket on which `natfwt status` talks to the running relay.
    public var adminSocket = "/run/natfwt/relay.sock"
    /// The table `[expose]`.
    public var expose = Expose()
    /// The table `[egress]`.
    public var egress = Egress()
    /// The table `[log]`.
    public var log = LogSettings()
    /// The table `[limits]`.
    public var limits = Limits()
    /// The table `[timeouts]`.
    public var timeouts = Timeouts()

    /// The defaults.
    public init() {}

    /// The table `[expose]`: which public ports nodes may have.
    public struct Expose: Equatable, Sendable {
        /// The addresses on which exposed ports are opened.
        public var bind = [IPAddress.anyV4, IPAddress.anyV6]
        /// What any node may ask for at most; a node's own permissions narrow it.
        public var ports = PortProtocol.allCases.map(PortRule.anyUnprivileged)
        /// The ports that are given out where a node asks for none in particular.
        public var automatic = usualAutomatic

        /// What ``automatic`` is unless something else is said.
        public static let usualAutomatic: ClosedRange<UInt16> = 20000...29999

        /// The defaults.
        public init() {}

        /// Whether any node may ask for this port.
        public func permits(_ transport: PortProtocol, _ port: UInt16) -> Bool {
            ports.contains { $0.allows(transport, port) }
        }

        /// Among which ports one is looked for where a node asks for none in particular: ``automatic`` or, where that is the
        /// usual and ``ports`` has none of those, all that it has.
        public func automaticPorts(_ transport: PortProtocol) -> ClosedRange<UInt16> {
            let offered = ports.filter { $0.protocol == transport }.map(\.ports)
            guard automatic == Expose.usualAutomatic, !offered.contains(where: automatic.overlaps),
                let first = offered.map(\.lowerBound).min(), let last = offered.map(\.upperBound).max()
            else { return automatic }
            return first...last
        }
    }

    /// The table `[egress]`: where nodes may go to from here, if the registry lets them out.
    public struct Egress: Equatable, Sendable {
        /// Whether any node is let out at all.
        public var allow = false
        /// Addresses that are not public and may be reached nevertheless.
        public var also: [AddressPrefix] = []
        /// Addresses that are never reached: stronger than ``also``.
        public var except: [AddressPrefix] = []
        /// The ports that may be reached. Without mail between servers: a node that sends spam would have this relay's
        /// address listed for it.
        public var ports = [
            PortRule(.tcp, 1...24), PortRule(.tcp, 26...65_535), PortRule(.udp, 1...65_535),
        ].compactMap { $0 }

        /// The defaults.
        public init() {}
    }

    /// The table `[limits]`: past each of them there is a refusal with its name. Sizes are in bytes.
    public struct Limits: Equatable, Sendable {
        /// Nodes that are connected at once.
        public var nodes = 10_000
        /// Ports that one node may expose.
        public var exposuresPerNode = 256
        /// TCP connections of visitors that are open at once to one node.
        public var streamsPerNode = 20_000
        /// TCP connections of visitors that are open at once on one port.
        public var visitorsPerPort = 20_000
        /// UDP flows that are open at once to one node.
        public var flowsPerNode = 16_384
        /// New streams and flows a second.
        public var opensPerSecond = 20_000
        /// Connections to other hosts that are being made for one node.
        public var dialsPerNode = 256
        /// Connections that are not admitted yet.
        public var handshakes = 512
        /// The same from one address (IPv6: one /64).
        public var handshakesPerSource = 64
        /// Bytes that wait for one node and its visitors, over all streams.
        public var queuedBytesPerNode = 64 << 20
        /// Bytes of datagrams that wait in one tunnel; past it the oldest is dropped and counted.
        public var datagramQueue = 256 << 10
        /// Bytes of control frames that wait in one tunnel; past it the session ends.
        public var controlQueue = 1 << 20
        /// The most that one stream may have under way.
        public var streamWindow = 16 << 20
        /// The window that a stream starts with.
        public var firstWindow = 256 << 10
        /// The largest control frame that is read.
        public var headerBytes = 16_384

        /// The defaults.
        public init() {}
    }

    /// The table `[timeouts]`.
    public struct Timeouts: Equatable, Sendable {
        /// From accept to WELCOME, for all of it.
        public var handshake = Duration.seconds(10)
        /// The interval of PING; a carrier is dead after three of them in silence.
        public var livenessInterval = Duration.seconds(15)
        /// How long a visitor waits for the node to reach its service.
        public var connect = Duration.seconds(15)
        /// A UDP flow ends after this long without a datagram.
        public var udpFlow = Duration.seconds(60)
        /// How long a half-closed stream may stay without a byte; nil: for ever.
        public var halfClosed: Duration?
        /// How long open streams may go on after SIGTERM.
        public var drain = Duration.seconds(30)

        /// The defaults.
        public init() {}
    }
}

extension RelaySettings {
    /// Reads the file at `path`. Errors tell everything that is wrong with it.
    public static func load(path: String) throws(SettingsError) -> RelaySettings {
        try parse(SettingsFile(path: path).text, file: path)
    }

    /// Reads `text`; `file` names it in errors, and relative paths in it are meant from that file's folder.
    public static func parse(_ text: String, file: String) throws(SettingsError) -> RelaySettings {
        let problems = Problems(file: file)
        var table = TableReader(root: try TOMLDocument.parse(text, file: file), problems: problems)
        let settings = RelaySettings(from: &table)
        try problems.throwIfAny()
        return settings
    }

    private init(from table: inout TableReader) {
        let listening = "an \"address:port\" with a port from 1 to 65535"
        listen = table.list("listen", of: listening, RelaySettings.listenAddress) ?? listen
        stateDirectory = table.path("state-directory", default: stateDirectory)
        // As --address of natfwt invite: where the port is left out, nodes come to the one that the relay listens on.
        publicAddress =
            table.hosts("public-address", mayBeEmpty: true, defaultPort: listen.first?.port ?? 443) ?? publicAddress
        adminSocket = table.socketPath("admin-socket", default: adminSocket)
        var section = table.table("expose")
        expose = Expose(from: &section)
        section = table.table("egress")
        egress = Egress(from: &section)
        section = table.table("log")
        log = LogSettings(from: &section)
        section = table.table("limits")
        limits = Limits(from: &section)
        section = table.table("timeouts")
        timeouts = Timeouts(from: &section)
        table.finish()
    }

    private static func listenAddress(_ value: TOMLNode.Value) -> TransportAddress? {
        guard case .string(let text) = value, let address = TransportAddress(text), address.port > 0 else { return nil }
        return address
    }
}

extension RelaySettings.Expose {
    fileprivate init(from table: inout TableReader) {
        bind =
            table.list("bind", of: "an IP address") { value in
                if case .string(let text) = value { IPAddress(text) } else { nil }
            } ?? bind
        ports = table.portRules("ports") ?? ports
        let automaticLine = table.line(of: "automatic")
        automatic =
            table.value("automatic", expected: "a range of ports such as \"20000-29999\"") { value in
                if case .string(let text) = value { PortRule.range(text) } else { nil }
            } ?? automatic
        table.finish()
        if automatic != Self.usualAutomatic, !ports.isEmpty, !ports.contains(where: { $0.ports.overlaps(automatic) }) {
            let offered = ports.map(\.description).joined(separator: ", ")
            table.problem("automatic", line: automaticLine, "none of these ports is among expose.ports (\(offered))")
        }
    }
}

extension RelaySettings.Egress {
    fileprivate init(from table: inout TableReader) {
        allow = table.boolean("allow", default: allow)
        also = table.prefixes("also") ?? also
        except = table.prefixes("except") ?? except
        ports = table.portRules("ports") ?? ports
        table.finish()
    }
}

extension TableReader {
    fileprivate mutating func portRules(_ key: String) -> [PortRule]? {
        list(key, of: "ports such as \"tcp:20000-20100\" from 1 to 65535", mayBeEmpty: true) { value in
            if case .string(let text) = value { try? PortRule(text) } else { nil }
        }
    }

    fileprivate mutating func prefixes(_ key: String) -> [AddressPrefix]? {
        list(key, of: "addresses such as \"10.1.0.0/16\" with no bits behind the prefix", mayBeEmpty: true) { value in
            if case .string(let text) = value { AddressPrefix(text) } else { nil }
        }
    }
}

extension RelaySettings.Limits {
    fileprivate init(from table: inout TableReader) {
        nodes = table.integer("nodes", 1...1_000_000, default: nodes)
        exposuresPerNode = table.integer("exposures-per-node", 1...65_535, default: exposuresPerNode)
        streamsPerNode = table.integer("streams-per-node", 1...1_000_000, default: streamsPerNode)
        visitorsPerPort = table.integer("visitors-per-port", 1...1_000_000, default: visitorsPerPort)
        flowsPerNode = table.integer("flows-per-node", 1...1_000_000, default: flowsPerNode)
        opensPerSecond = table.integer("opens-per-second", 1...10_000_000, default: opensPerSecond)
        dialsPerNode = table.integer("dials-per-node", 1...65_535, default: dialsPerNode)
        handshakes = table.integer("handshakes", 1...1_000_000, default: handshakes)
        handshakesPerSource = table.integer("handshakes-per-source", 1...1_000_000, default: handshakesPerSource)
        queuedBytesPerNode = table.bytes("queued-bytes-per-node", TunnelBounds.queued, default: queuedBytesPerNode)
        (datagramQueue, controlQueue) = table.queues(datagramQueue, controlQueue)
        (firstWindow, streamWindow) = table.windows(firstWindow, streamWindow)
        headerBytes = table.bytes("header-bytes", TunnelBounds.header, default: headerBytes)
        table.finish()
    }
}

extension RelaySettings.Timeouts {
    fileprivate init(from table: inout TableReader) {
        handshake = table.duration("handshake", TunnelBounds.wait, default: handshake)
        livenessInterval = table.duration("liveness-interval", TunnelBounds.wait, default: livenessInterval)
        connect = table.duration("connect", TunnelBounds.wait, default: connect)
        udpFlow = table.duration("udp-flow", TunnelBounds.idle, default: udpFlow)
        halfClosed = table.optionalDuration("half-closed", TunnelBounds.idle, default: halfClosed)
        drain = table.duration("drain", TunnelBounds.drain, default: drain)
        table.finish()
    }
}
