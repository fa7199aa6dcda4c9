// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import ConnectivityPlatform
internal import EventLoop
internal import Identity
internal import Logging
internal import Primitives
internal import Providers
internal import Settings
internal import TLS
internal import Telemetry
internal import Tunneling

// The way to the relay: where it is, who it is, and what a reload changes of that.
extension Agent {
    /// The relay and this node's part in it, from the settings or from the invite in them.
    static func relayConfiguration(
        _ settings: AgentSettings, key: NodeKey, context: TLSContext
    ) throws(StartFailure) -> RelayConfiguration {
        let invite = try settings.invite.map { text throws(StartFailure) in
            try StartFailure.configuration { try Invite(text) }
        }
        guard let relay = settings.relayKey.flatMap({ NodeID($0) }) ?? invite?.relayID else {
            throw StartFailure(
                status: .configuration, message: "relay-key is missing: join a relay first (natfwt join)")
        }
        return RelayConfiguration(
            addresses: settings.relay.isEmpty ? invite?.relays ?? [] : settings.relay, relay: relay, node: key.id,
            nodeName: settings.name ?? invite?.name.text ?? "", inviteToken: invite?.token.bytes ?? [],
            context: context, limits: settings.tunnelLimits, connectTimeout: settings.timeouts.connect,
            handshakeTimeout: settings.timeouts.handshake)
    }

    func makeSupervisor(_ relay: RelayConfiguration) throws(StartFailure) {
        var plan = Supervisor.Settings(
            name: Agent.relayName, transportIDs: [TransportID(key.id.transportAddress)])
        plan.backoff = Backoff(
            initial: settings.timeouts.backoffInitial, maximum: settings.timeouts.backoffMaximum)
        let factory = RelayFactory(loop: loop, configuration: relay, logger: logger, delegate: self)
        self.factory = factory
        supervisor = Supervisor(platform: platform, settings: plan, factory: factory)
    }

    /// What the settings say of reaching the relay counts from the next try on. The session that there is goes on where it
    /// is with the relay that is meant, at one of its addresses; any other ends with the configuration's word.
    func updateRelay() {
        do throws(StartFailure) {
            let fresh = try Agent.relayConfiguration(settings, key: key, context: context)
            guard let old = factory?.configuration else { return }
            factory?.configuration = fresh
            let isSame = fresh.relay == old.relay && fresh.addresses == old.addresses
            let isKept = fresh.relay == old.relay && relay?.target.map(fresh.addresses.contains) == true
            guard !isSame, !isKept else { return }
            supervisor?.stop(now: loop.now)
            try makeSupervisor(fresh)
            supervisor?.start(now: loop.now)
        } catch {
            logger.error("the way to the relay is not changed", metadata: ["error": "\(error)"])
        }
    }

    /// Where other connections to the relay go that has let this node in: to the same of its addresses.
    func joinedRelay(
        _ provider: RelayProvider, _ welcome: Welcome
    ) -> (addresses: [HostAndPort], key: NodeID, isAble: Bool)? {
        guard let configuration = factory?.configuration, let target = provider.target else { return nil }
        return ([target], configuration.relay, welcome.capabilities.contains(.joining))
    }

    // MARK: While there is no session

    /// Seconds until the relay is tried again; nil while it is being tried.
    var secondsToNextTry: Int? {
        supervisor?.nextDeadline.map { $0 <= loop.now ? 0 : Int(($0 - loop.now).inSeconds.rounded(.up)) }
    }

    /// Why there is no session, as far as is known.
    var whyNotConnected: String? {
        supervisor?.lastFault?.message ?? platform.terminations(of: Agent.relayName).last?.message
    }

    /// For people: that there is no session, and how it goes on; nil where there is one.
    var notConnectedLine: String? {
        guard relay == nil else { return nil }
        let next = secondsToNextTry.map { "next try in \($0) s" } ?? "trying now"
        return "relay: not connected, \(next)" + (whyNotConnected.map { ": \($0)" } ?? "")
    }

    /// As ``notConnectedLine``, for programs.
    func writeRelay(to json: inout JSONWriter) {
        json.field("connected", relay != nil)
        json.field("addresses", factory?.configuration.addresses.map(\.description).joined(separator: " "))
        guard relay == nil else { return }
        if let secondsToNextTry { json.field("next-try-seconds", secondsToNextTry) }
        json.field("why", whyNotConnected)
    }
}

/// Makes a provider for each try to reach the relay.
final class RelayFactory: ProviderFactory {
    private let loop: EventLoop
    /// May be changed at any time, for the next try.
    var configuration: RelayConfiguration
    private let logger: Logger
    private weak var delegate: (any RelayProviderDelegate)?

    init(
        loop: EventLoop, configuration: RelayConfiguration, logger: Logger, delegate: any RelayProviderDelegate
    ) {
        self.loop = loop
        self.configuration = configuration
        self.logger = logger
        self.delegate = delegate
    }

    func makeProvider(for supervisor: Supervisor) throws(SessionFault) -> any Provider {
        let provider = RelayProvider(loop: loop, configuration: configuration, logger: logger)
        provider.delegate = delegate
        return provider
    }
}
