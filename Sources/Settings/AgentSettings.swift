// SPDX-License-Identifier: Apache-2.0

internal import Identity
public import Primitives

/// What `agent.toml` says: every key with its built-in default. config/agent.toml tells the meaning of each in full.
public struct AgentSettings: Equatable, Sendable {
    /// Where the relay is reached, tried in this order. May be empty only where there is an `invite`.
    public var relay: [HostAndPort] = []
    /// The fingerprint of the relay's public key, `SHA256:…`; nil only where there is an `invite`.
    public var relayKey: String?
    /// The file of this node's key. A relative path is meant from the file's folder, and is resolved here.
    public var key = "node.key"
    /// How this node calls itself; the relay's registry may know it under another name.
    public var name: String?
    /// An invite that admits this node the first time.
    public var invite: String?
    /// The Unix socket on which `natfwt status` talks to the running agent.
    public var adminSocket = "/run/natfwt/agent.sock"
    /// What is exposed; a `[[expose]]` with a range of ports gives one for each port.
    public var expose: [Exposure] = []
    /// What other nodes may reach here; the first that fits counts, and what fits none is refused.
    public var serve: [Serve] = []
    /// Ports of this host that lead to services of other nodes.
    public var forward: [Forward] = []
    /// The listener for programs that know proxies; nil: none.
    public var socks: SOCKSListener?
    /// The interface that leads to the other nodes; nil: none.
    public var adapter: AdapterSettings?
    /// The way in for the hosts of a network that this host is the gateway of; nil: none.
    public var gateway: GatewaySettings?
    /// What follows a node's name in a host name: `home` is `home.natfwt.internal`. In small letters.
    public var nameSuffix = "natfwt.internal"
    /// The file in which the names of nodes are pinned to their keys once seen. A path as `key` is.
    public var knownNodes = "known-nodes"
    /// The table `[log]`.
    public var log = LogSettings()
    /// The table `[limits]`.
    public var limits = Limits()
    /// The table `[timeouts]`.
    public var timeouts = Timeouts()
    /// The table `[providers]`.
    public var providers = ProviderSettings()
    /// The table `[direct]`.
    public var direct = DirectSettings()
    /// What is not wrong but should be told, such as a secret that every user of the host may read.
    public var warnings: [String] = []

    /// The defaults.
    public init() {}

    /// The table `[limits]`: past each of them there is a refusal with its name. Sizes are in bytes.
    public struct Limits: Equatable, Sendable {
        /// TCP connections of visitors that are open at once.
        public var streams = 20_000
        /// UDP flows that are open at once.
        public var flows = 16_384
        /// New streams and flows a second.
        public var opensPerSecond = 20_000
        /// Bytes that wait for the relay and the services, over all streams.
        public var queuedBytes = 64 << 20
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
        /// From connect to WELCOME, for all of it.
        public var handshake = Duration.seconds(10)
        /// How long a connect to a service or to one address of the relay may take.
        public var connect = Duration.seconds(10)
        /// A UDP flow ends after this long without a datagram.
        public var udpFlow = Duration.seconds(60)
        /// How long a half-closed stream may stay without a byte; nil: for ever.
        public var halfClosed: Duration?
        /// How long open streams may go on after SIGTERM.
        public var drain = Duration.seconds(30)
        /// The wait before the first new try to reach the relay; doubled each time, with jitter.
        public var backoffInitial = Duration.milliseconds(500)
        /// The longest wait between two tries.
        public var backoffMaximum = Duration.seconds(30)

        /// The defaults.
        public init() {}
    }
}

extension AgentSettings {
    /// The most ports that one file may expose.
    public static let maximumExposures = 4_096

    /// Reads the file at `path`. Errors tell everything that is wrong with it.
    public static func load(path: String) throws(SettingsError) -> AgentSettings {
        let file = try SettingsFile(path: path)
        var settings = try parse(file.text, file: path)
        let secrets = [
            settings.invite.map { _ in "an invite" }, settings.socks?.credentials.map { _ in "a password" },
        ].compactMap(\.self)
        if !secrets.isEmpty && file.isWorldReadable {
            let held = secrets.joined(separator: " and ")
            settings.warnings.append(
                "\(path): holds \(held) and every user of this host may read it: chmod 600 \(path)")
        }
        return settings
    }

    /// Reads `text`; `file` names it in errors, and relative paths in it are meant from that file's folder.
    public static func parse(_ text: String, file: String) throws(SettingsError) -> AgentSettings {
        let problems = Problems(file: file)
        var table = TableReader(root: try TOMLDocument.parse(text, file: file), problems: problems)
        let settings = AgentSettings(from: &table)
        try problems.throwIfAny()
        return settings
    }

    private init(from table: inout TableReader) {
        let hasRelay = table.has("relay")
        let hasKey = table.has("relay-key")
        let hasInvite = table.has("invite")
        relay = table.hosts("relay") ?? []
        relayKey = table.relayKey()
        key = table.path("key", default: resolved(key, beside: table.problems.file))
        name = table.value("name", expected: "a name of 1 to 64 printable characters") { value in
            if case .string(let text) = value, isName(text) { text } else { nil }
        }
        invite = table.invite()
        adminSocket = table.socketPath("admin-socket", default: adminSocket)
        expose = AgentSettings.exposures(table.tables("expose"))
        readNodeToNode(&table)
        var section = table.table("log")
        log = LogSettings(from: &section)
        section = table.table("limits")
        limits = Limits(from: &section)
        section = table.table("timeouts")
        timeouts = Timeouts(from: &section)
        section = table.table("providers")
        providers = ProviderSettings(from: &section)
        section = table.table("direct")
        direct = DirectSettings(from: &section)
        table.finish()
        for (key, isThere) in [("relay", hasRelay), ("relay-key", hasKey)] where !isThere && !hasInvite {
            table.problems.add(line: nil, "\(key): is missing, and there is no invite that would tell it")
        }
    }

    /// What is between nodes, without a port of the relay.
    private mutating func readNodeToNode(_ table: inout TableReader) {
        nameSuffix =
            table.value("name-suffix", expected: "a domain name such as \"natfwt.internal\"") { value in
                if case .string(let text) = value { DomainText.suffix(text) } else { nil }
            } ?? nameSuffix
        knownNodes = table.path("known-nodes", default: resolved(knownNodes, beside: table.problems.file))
        var places = ListeningPlaces()
        for var section in table.tables("serve") { if let read = section.serve() { serve.append(read) } }
        for var section in table.tables("forward") {
            if let read = section.forward(&places) { forward.append(read) }
        }
        if var section = table.optionalTable("socks") { socks = section.socks(&places) }
        if var section = table.optionalTable("adapter") { adapter = AdapterSettings(from: &section) }
        if var section = table.optionalTable("gateway") { gateway = GatewaySettings(from: &section) }
        if let socks, socks.isOpenToOthers {
            let listen = ListenText.text(socks.listen)
            warnings.append(
                "\(table.problems.file): socks.listen: who reaches \(listen) may use this node's tunnels: set user and password"
            )
        }
    }

    /// The exposures of all tables; the same public port twice is a problem, and so is the same name.
    private static func exposures(_ tables: [TableReader]) -> [Exposure] {
        var all: [Exposure] = []
        var ports: [PortRule: Int] = [:]
        var names: [String: Int] = [:]
        for var table in tables {
            let line = table.line
            let (portLine, nameLine) = (table.line(of: "port"), table.line(of: "name"))
            for exposure in table.exposures() {
                if let port = PortRule(exposure.transport, exposure.port...exposure.port),
                    let first = ports.updateValue(line, forKey: port)
                {
                    table.problem("port", line: portLine, "\(port) is exposed already on line \(first)")
                }
                if !exposure.name.isEmpty, let first = names.updateValue(line, forKey: exposure.name) {
                    table.problem("name", line: nameLine, "\"\(exposure.name)\" is the name of line \(first) already")
                }
                all.append(exposure)
            }
            if all.count > maximumExposures {
                table.problem("port", line: portLine, "more than \(maximumExposures) ports are exposed")
                return []
            }
        }
        return all
    }
}

extension TableReader {
    /// What `natfwt invite` printed. No error shows it.
    fileprivate mutating func invite() -> String? {
        let line = line(of: "invite")
        guard let text = string("invite", expected: "the line that \"natfwt invite\" printed") else { return nil }
        do throws(InviteError) { _ = try Invite(text) } catch {
            problem("invite", line: line, "\(error)")
        }
        return text
    }

    /// A fingerprint as `ssh-keygen -l` writes it: `SHA256:` and 32 bytes in unpadded base64.
    fileprivate mutating func relayKey() -> String? {
        value("relay-key", expected: "a fingerprint \"SHA256:…\" of 43 base64 characters") { value in
            guard case .string(let text) = value, text.hasPrefix("SHA256:") else { return nil }
            var digest = text.utf8.dropFirst(7)
            if digest.count == 44 && digest.last == UInt8(ascii: "=") { digest = digest.dropLast() }
            return digest.count == 43 && digest.allSatisfy(isBase64) ? "SHA256:\(Substring(digest))" : nil
        }
    }
}

private func isBase64(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
        true
    default: false
    }
}

extension AgentSettings.Limits {
    fileprivate init(from table: inout TableReader) {
        streams = table.integer("streams", 1...1_000_000, default: streams)
        flows = table.integer("flows", 1...1_000_000, default: flows)
        opensPerSecond = table.integer("opens-per-second", 1...10_000_000, default: opensPerSecond)
        queuedBytes = table.bytes("queued-bytes", TunnelBounds.queued, default: queuedBytes)
        (datagramQueue, controlQueue) = table.queues(datagramQueue, controlQueue)
        (firstWindow, streamWindow) = table.windows(firstWindow, streamWindow)
        headerBytes = table.bytes("header-bytes", TunnelBounds.header, default: headerBytes)
        table.finish()
    }
}

extension AgentSettings.Timeouts {
    fileprivate init(from table: inout TableReader) {
        handshake = table.duration("handshake", TunnelBounds.wait, default: handshake)
        connect = table.duration("connect", TunnelBounds.wait, default: connect)
        udpFlow = table.duration("udp-flow", TunnelBounds.idle, default: udpFlow)
        halfClosed = table.optionalDuration("half-closed", TunnelBounds.idle, default: halfClosed)
        drain = table.duration("drain", TunnelBounds.drain, default: drain)
        let line = table.line(of: "backoff-maximum")
        backoffInitial = table.duration("backoff-initial", TunnelBounds.backoff, default: backoffInitial)
        backoffMaximum = table.duration("backoff-maximum", TunnelBounds.backoff, default: backoffMaximum)
        if backoffMaximum < backoffInitial {
            let initial = DurationFormat.text(backoffInitial)
            table.problem("backoff-maximum", line: line, "expected at least backoff-initial (\(initial))")
        }
        table.finish()
    }
}
