// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import EventLoop
public import Logging
internal import Primitives

/// Which programs may be providers, and how they are treated.
public struct ProviderDoorSettings: Equatable, Sendable {
    /// The Unix socket that they connect to.
    public var path: String
    /// Users and groups whose programs may register; the agent's own user and root always may.
    public var allow: [AllowedUser]
    /// How long a provider may take to complete a call, or to take packets out of its ring.
    public var deadline: Duration
    /// Bytes of each of the two rings; a power of two. More than the cache of one core: a writer that comes round while the
    /// reader's core still has the bytes of the last round has to take them from it line by line, at a quarter of the speed.
    public var ringSize: Int
    /// Providers at once, with those that have not registered yet.
    public var limit: Int
    /// The place among instances that are asked for a transport ID: lower is asked first.
    public var preference: Int

    /// - Parameter path: of a folder that is there, up to 107 bytes.
    public init(
        path: String, allow: [AllowedUser] = [], deadline: Duration = .seconds(10), ringSize: Int = 2 << 20,
        limit: Int = 256, preference: Int = 0
    ) {
        self.path = path
        self.allow = allow
        self.deadline = deadline
        self.ringSize = ringSize
        self.limit = limit
        self.preference = preference
    }
}

/// Lets programs of this host in as providers: listens, looks at who comes, registers.
public final class ProviderDoor {
    public let settings: ProviderDoorSettings
    /// Where packets go that the providers receive. Not kept.
    public weak var receiver: (any ExternalPacketReceiver)?
    /// Those that are registered or about to be.
    public private(set) var providers: [ExternalProvider] = []

    private let loop: EventLoop
    private unowned let platform: Platform
    private let transportIDs: [TransportID]
    private let logger: Logger
    private var listener: SessionListener?
    private let users: Set<UInt32>
    private let groups: Set<UInt32>

    /// Listens from now on.
    /// - Parameters:
    ///   - platform: outlives this.
    ///   - transportIDs: this node's, given to every provider.
    public init(
        loop: EventLoop, platform: Platform, transportIDs: [TransportID], settings: ProviderDoorSettings, logger: Logger
    ) throws(UVError) {
        self.loop = loop
        self.platform = platform
        self.transportIDs = transportIDs
        self.settings = settings
        self.logger = logger
        var (users, groups): (Set<UInt32>, Set<UInt32>) = ([0, Accounts.ownUser], [])
        for account in settings.allow {
            switch account {
            case .user(let name): if let user = Accounts.user(name) { users.insert(user) }
            case .group(let name): if let group = Accounts.group(name) { groups.insert(group) }
            case .everybody: break
            }
        }
        (self.users, self.groups) = (users, groups)
        // Who may register is decided by who connects, not by the file's mode.
        let mode: UInt32 = settings.allow.isEmpty ? 0o600 : 0o666
        listener = try SessionListener(loop: loop, path: settings.path, mode: mode, delegate: self)
    }

    /// Takes no new providers. Those that there are stay.
    public func close() {
        listener?.close()
        listener = nil
    }

    /// The external provider of an instance.
    public func provider(of instance: ProviderInstance) -> ExternalProvider? {
        providers.first { $0.instance === instance }
    }

    private func isAllowed(_ peer: PeerCredentials) -> Bool {
        users.contains(peer.user) || !groups.isDisjoint(with: peer.groups)
    }

    private func refusal(of error: PlatformError) -> HRESULT { HRESULT(rawValue: error.code) }

    /// The users and groups that an sddl names: "alice,%staff"; "*" for every user.
    static func allowedUsers(_ sddl: String) throws(Refusal) -> [AllowedUser] {
        var allowed: [AllowedUser] = []
        for part in sddl.split(separator: ",", omittingEmptySubsequences: false) {
            let name = String(part.drop { $0 == " " }.prefix { $0 != " " })
            let isGroup = name.hasPrefix("%")
            let account = isGroup ? String(name.dropFirst()) : name
            guard !account.isEmpty else { throw Refusal(result: .invalidArgument) }
            allowed.append(name == "*" ? .everybody : isGroup ? .group(account) : .user(account))
        }
        return allowed
    }

    struct Refusal: Error { let result: HRESULT }

    private func register(_ provider: ExternalProvider, _ registration: Registration) throws(Refusal) {
        guard registration.version == 1 else { throw Refusal(result: .version) }
        guard isAllowed(provider.peer) else { throw Refusal(result: .accessDenied) }
        var allowed: [AllowedUser]?
        if let sddl = registration.sddl {
            let named = try ProviderDoor.allowedUsers(sddl)
            guard let admitted = AdmittedUsers(named) else { throw Refusal(result: .noAccount) }
            provider.admitted = admitted
            allowed = named
        }
        let rings: SharedRings
        do throws(UVError) { rings = try SharedRings(ringSize: settings.ringSize) } catch {
            throw Refusal(result: .quota)
        }
        let name = ProviderDoor.name(of: registration.program, provider.peer)
        do throws(PlatformError) {
            let instance = try platform.createInstance(
                provider: provider, name: name, preference: settings.preference)
            do throws(PlatformError) {
                try instance.register(
                    friendlyName: registration.friendlyName, interfaceLUID: registration.luid,
                    flags: registration.flags, allowedUsers: allowed, now: loop.now)
            } catch {
                try? instance.destroy()
                throw error
            }
            begin(provider, instance, rings)
        } catch {
            throw Refusal(result: refusal(of: error))
        }
    }

    private func begin(_ provider: ExternalProvider, _ instance: ProviderInstance, _ rings: SharedRings) {
        guard provider.registered(as: instance, rings: rings) else {
            try? instance.deregister(now: loop.now)
            try? instance.destroy()
            return provider.end()
        }
        logger.notice(
            "provider registered",
            metadata: [
                "provider": "\(instance.name)", "interface": "\(instance.friendlyName)",
                "process": "\(provider.peer.process)",
            ])
        try? instance.begin(transportIDs: transportIDs, now: loop.now)
    }

    /// The owner of the interfaces: a program of a user. A program may call itself what it likes, as its user may run what
    /// it likes.
    private static func name(of program: String, _ peer: PeerCredentials) -> String {
        let kept = program.unicodeScalars.filter {
            $0.properties.isAlphabetic || "0123456789-_.".unicodeScalars.contains($0)
        }
        let text = String(String.UnicodeScalarView(kept.prefix(64)))
        return "\(Accounts.name(ofUser: peer.user))/\(text.isEmpty ? "provider" : text)"
    }
}

extension ProviderDoor: SessionListenerDelegate {
    public func sessionListener(_ listener: SessionListener, accepted socket: SessionSocket) {
        guard providers.count < settings.limit, let peer = socket.peer else { return }
        let provider = ExternalProvider(loop: loop, socket: socket, peer: peer, deadline: settings.deadline)
        provider.delegate = self
        provider.receiver = receiver
        providers.append(provider)
        provider.start()
    }

    public func sessionListener(_ listener: SessionListener, pausedFor error: UVError) {
        logger.warning("no provider can connect for a moment", metadata: ["error": "\(error)"])
    }
}

extension ProviderDoor: ExternalProviderDelegate {
    func externalProvider(_ provider: ExternalProvider, asksFor registration: Registration) {
        do throws(Refusal) {
            try register(provider, registration)
        } catch {
            logger.warning(
                "provider refused",
                metadata: [
                    "program": "\(registration.program)", "process": "\(provider.peer.process)",
                    "user": "\(Accounts.name(ofUser: provider.peer.user))", "result": "\(error.result)",
                ])
            provider.refuse(error.result)
        }
    }

    func externalProviderEnded(_ provider: ExternalProvider) { providers.removeAll { $0 === provider } }
}
