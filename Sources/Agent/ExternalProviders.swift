// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import ConnectivityPlatform
internal import EventLoop
internal import Logging
internal import Primitives
internal import Providers
internal import Settings
internal import Telemetry

/// The programs of this host that are providers: the door through which they come, and what `natfwt providers` tells.
final class ExternalProviders {
    private let loop: EventLoop
    private let platform: Platform
    private let settings: ProviderSettings
    /// Where they register; nil where none may.
    private let path: String?
    private let local: TransportID
    private let logger: Logger
    private var door: ProviderDoor?
    private var isClosed = false
    private var hasWarned = false
    /// Takes the packets that they receive.
    weak var receiver: (any ExternalPacketReceiver)? {
        didSet { door?.receiver = receiver }
    }

    /// - Parameter local: this node's transport ID.
    init(loop: EventLoop, platform: Platform, settings: AgentSettings, local: TransportID, logger: Logger) {
        self.loop = loop
        self.platform = platform
        self.settings = settings.providers
        path = settings.providerSocket
        self.local = local
        self.logger = logger
    }

    /// Opens the door, unless it is open, unwanted, or was closed for good. To be called about once a second.
    func open() {
        guard door == nil, !isClosed, let path else { return }
        let plan = ProviderDoorSettings(
            path: path, allow: settings.allow.map { AllowedUser($0) }, deadline: settings.deadline)
        do throws(UVError) {
            try? StateDirectory.prepareParent(of: path)
            door = try ProviderDoor(
                loop: loop, platform: platform, transportIDs: [local], settings: plan, logger: logger)
            door?.receiver = receiver
        } catch {
            guard !hasWarned else { return }
            hasWarned = true
            logger.warning(
                "no provider can register until the socket can be opened",
                metadata: [
                    "path": "\(path)", "error": "\(error)",
                    "advice": """
                    Where another agent has it, give each its own: [providers] socket = "PATH" in agent.toml, and \
                    CPNATFWT_SOCKET=PATH for its providers.
                    """,
                ])
        }
    }

    /// Users and groups that may register and that this host does not know.
    var unknownUsers: [String] {
        settings.allow.filter { name in
            name.hasPrefix("%") ? Accounts.group(String(name.dropFirst())) == nil : Accounts.user(name) == nil
        }
    }

    /// Takes no new providers.
    func close() {
        isClosed = true
        door?.close()
    }

    /// The active ones, the preferred first.
    var active: [ProviderInstance] {
        guard let door, !door.providers.isEmpty else { return [] }
        return platform.instances.filter { $0.state == .active && door.provider(of: $0) != nil }
    }

    /// The external provider of an instance.
    func provider(of instance: ProviderInstance) -> ExternalProvider? { door?.provider(of: instance) }

    /// Whether a name is that of a program and its user.
    func isExternal(_ name: String) -> Bool {
        name != Agent.relayName && !name.hasPrefix("node/") && name.contains("/")
    }

    // MARK: What is told of them

    func text(now: Instant) -> String {
        let lines = door.map { door in door.providers.compactMap { line($0, now: now) } } ?? []
        let ended = platform.recentTerminations.filter { isExternal($0.name) }.map { $0.line(now: now) }
        let all = (lines.isEmpty ? ["no provider is registered"] : lines) + ended
        return all.joined(separator: "\n") + "\n"
    }

    private func line(_ provider: ExternalProvider, now: Instant) -> String? {
        guard let instance = provider.instance else { return nil }
        let counters = instance.counters
        var lines = ["\(instance.name) (process \(provider.peer.process)): \(instance.state)"]
        lines.append("  interface \(instance.interfaceLUID?.description ?? "") \"\(instance.friendlyName)\"")
        let ids = instance.transportIDs.map(\.description)
        if !ids.isEmpty { lines.append("  transport IDs \(ids.joined(separator: " "))") }
        lines.append(
            "  \(counters.bytesSent) bytes sent, \(counters.bytesReceived) received, "
                + "\(provider.packetsDropped) packets dropped")
        return lines.joined(separator: "\n")
    }

    func json(now: Instant) -> String {
        var json = JSONWriter()
        json.object { json in
            json.field("socket", path)
            json.key("instances")
            json.array { json in
                for provider in door?.providers ?? [] { write(provider, to: &json, now: now) }
            }
            json.key("terminations")
            json.array { json in
                for record in platform.recentTerminations where isExternal(record.name) {
                    json.termination(record, now: now)
                }
            }
        }
        return json.text + "\n"
    }

    private func write(_ provider: ExternalProvider, to json: inout JSONWriter, now: Instant) {
        guard let instance = provider.instance else { return }
        let counters = instance.counters
        json.object { json in
            json.field("provider", instance.name)
            json.field("process", provider.peer.process)
            json.field("state", instance.state.description)
            json.field("interface", instance.friendlyName)
            json.field("luid", instance.interfaceLUID?.rawValue ?? 0)
            json.key("transport-ids")
            json.array { json in for id in instance.transportIDs { json.string(id.description) } }
            if let since = instance.activeSince { json.field("active-seconds", (now - since).inSeconds) }
            json.field("endpoints", instance.endpoints.count)
            json.field("bytes-sent", counters.bytesSent)
            json.field("bytes-received", counters.bytesReceived)
            json.field("packets-dropped", provider.packetsDropped)
            if let last = platform.terminations(of: instance.name).last {
                json.field("last-termination", last.reason.identifier)
            }
        }
    }
}

extension AllowedUser {
    /// A user's name, or a group's with `%` before it.
    init(_ text: String) { self = text.hasPrefix("%") ? .group(String(text.dropFirst())) : .user(text) }
}
