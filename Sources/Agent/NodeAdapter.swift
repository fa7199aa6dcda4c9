// SPDX-License-Identifier: Apache-2.0

internal import Administration
internal import ConnectivityPlatform
internal import EventLoop
internal import Logging
internal import Primitives
internal import Redirection
internal import Settings
internal import Telemetry

/// The interface of this host that leads to the other nodes: as the settings want it, or as long as a command in the
/// foreground asks for one. There is one at most: it leads to all of them (``ProviderInterfaces`` are others').
final class NodeAdapter {
    private(set) var adapter: Adapter?
    /// The command for which there is one, or will be.
    private var lender: AdministrationConversation?
    private var settings: AgentSettings
    private var hasFailed = false
    private let loop: EventLoop
    private let address: IPAddress
    private let router: AgentRouter
    private let served: ServedPorts
    private let logger: Logger
    private let sampler: LogSampler

    init(
        loop: EventLoop, address: IPAddress, settings: AgentSettings, router: AgentRouter, served: ServedPorts,
        logger: Logger, sampler: LogSampler
    ) {
        self.loop = loop
        self.address = address
        self.settings = settings
        self.router = router
        self.served = served
        self.logger = logger
        self.sampler = sampler
    }

    // MARK: As the settings want it

    /// Makes it, or takes it away, where the settings say something else than before.
    func apply(_ settings: AgentSettings) {
        if settings.adapter != self.settings.adapter, lender == nil { close() }
        self.settings = settings
        openMissing()
    }

    /// Makes what could not be made before.
    func openMissing() {
        guard let wanted = settings.adapter, adapter == nil, lender == nil else { return }
        do throws(UVError) {
            let file = try PacketDeviceFile.open(named: wanted.name)
            try file.configure(address: address, prefix: Adapter.prefix, mtu: Adapter.mtu)
            try begin(file)
            hasFailed = false
        } catch {
            guard !hasFailed else { return }
            hasFailed = true
            let advice = error.isPermissionDenied ? "it takes CAP_NET_ADMIN; or, as root: natfwt adapter" : ""
            logger.error(
                "the adapter can't be made",
                metadata: ["name": "\(wanted.name)", "error": "\(error)", "advice": "\(advice)"])
        }
    }

    private func begin(_ file: consuming PacketDeviceFile) throws(UVError) {
        let name = file.name
        let limits = AdapterLimits(flows: settings.limits.flows, flowTimeout: settings.timeouts.udpFlow)
        let names = AdapterNames(loop: loop, suffix: settings.nameSuffix, finder: router, log: sampler)
        let adapter = try Adapter(
            loop: loop, file: file, address: address, served: served, router: router, names: names, limits: limits,
            log: sampler)
        adapter.onFailure = { [weak self] error in self?.failed(error) }
        self.adapter = adapter
        logger.notice("the adapter is up", metadata: ["name": "\(name)", "address": "\(address)"])
    }

    /// Somebody has removed the interface.
    private func failed(_ error: UVError) {
        adapter = nil
        logger.warning("the adapter is gone", metadata: ["error": "\(error)"])
        lender?.refuse(.unavailable("the interface was removed"))
        lender = nil
    }

    // MARK: As a command wants it

    /// Has the command make a device, and carries its packets as long as the conversation lasts.
    func lend(_ conversation: AdministrationConversation) {
        guard adapter == nil, lender == nil else {
            let name = adapter.map { " (\($0.name))" } ?? ""
            return conversation.refuse(.unavailable("there is an adapter already\(name)"))
        }
        lender = conversation
        conversation.onEnd = { [weak self] in self?.close() }
        do throws(UVError) {
            try conversation.takeDescriptor { [weak self] in self?.lent($0) }
        } catch { return refuse("\(error)") }
        let plan = AdapterPlan(
            address: address, prefix: Adapter.prefix, mtu: Adapter.mtu, nameServer: AdapterNames.address,
            suffix: settings.nameSuffix)
        conversation.send("\(plan.line)\n")
    }

    private func lent(_ descriptor: Result<Int32, UVError>) {
        // A command that has gone is heard of by itself.
        guard case .success(let descriptor) = descriptor else { return }
        do throws(UVError) {
            try begin(try PacketDeviceFile(adopting: descriptor))
            lender?.answer(.ok)
        } catch { refuse("what the command has passed is no device of the right kind: \(error)") }
    }

    private func refuse(_ text: String) {
        lender?.refuse(.unavailable(text))
        lender = nil
    }

    // MARK: The end

    /// Takes it away, and what was to come.
    func close() {
        lender?.end()
        lender = nil
        guard let adapter else { return }
        logger.notice("the adapter goes", metadata: ["name": "\(adapter.name)"])
        adapter.close()
        self.adapter = nil
    }
}
