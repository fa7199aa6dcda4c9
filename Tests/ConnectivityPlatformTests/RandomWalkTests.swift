// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

/// Everybody does anything at any time, also from within each other's calls; what must hold always holds.
@Suite struct RandomWalkTests {
    @Test(arguments: (UInt64(1)...60).map { $0 } + [UInt64.random(in: 100...UInt64.max)])
    func invariantsHold(seed: UInt64) throws {
        let walk = Walk(seed: seed)
        for _ in 0..<400 { walk.step() }
        walk.finish()
        #expect(walk.violations == [], "seed \(seed)")
    }
}

/// A provider and its obligations as seen from within.
private final class WalkProvider: Provider {
    unowned let walk: Walk
    weak var instance: ProviderInstance?
    var established = 0
    var terminated = 0
    /// Set once deregister has returned: nothing may come from here on.
    var isDeregistered = false
    var calls: [PendedCall] = []

    init(_ walk: Walk) { self.walk = walk }

    private func enter(_ name: String, needsSession: Bool = true) {
        if isDeregistered { walk.violate("\(name) after deregister returned") }
        let isInSession = instance?.state == .inSession || instance?.state == .active
        if needsSession, name != "terminate", !isInSession { walk.violate("\(name) while not in session") }
        if ["send", "open", "finish", "consumed"].contains(name), instance?.state != .active {
            walk.violate("\(name) while not active")
        }
        if needsSession, established != 1 || terminated != 0 { walk.violate("\(name) outside of a session") }
    }

    private func answer(_ call: PendedCall, _ name: String) -> CallOutcome {
        enter(name)
        walk.disturb()
        switch walk.roll(12) {
        case 0...6: return .completed
        case 7...9:
            calls.append(call)
            return .pending
        case 10: return .refused
        default: return walk.roll(4) == 0 ? .failed(SessionFault(.providerOtherFailure, "no")) : .completed
        }
    }

    func establishSessionIndication(_ instance: ProviderInstance) {
        enter("establish", needsSession: false)
        established += 1
        if established > 1 || terminated > 0 { walk.violate("established twice or late") }
        walk.disturb()
    }
    func terminateSessionIndication(_ instance: ProviderInstance, reason: SessionTerminationReason, message: String) {
        enter("terminate")
        terminated += 1
        if !instance.endpoints.isEmpty { walk.violate("terminated before its endpoints") }
        if instance.pendedCalls != 0 { walk.violate("terminated with pended calls") }
        walk.disturb()
    }
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { answer(call, "add") }
    func removeTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { answer(call, "remove") }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { answer(call, "reach") }
    func transitionActive(call: PendedCall) -> CallOutcome { answer(call, "active") }
    func transitionInactive(call: PendedCall) -> CallOutcome { answer(call, "inactive") }
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        enter("send")
        if endpoint.hasEnded { walk.violate("send on an ended endpoint") }
        walk.disturb()
        guard walk.roll(8) == 0 else { return .completed }
        calls.append(call)
        return .pending
    }
    func openEndpoint(_ endpoint: Endpoint) {
        enter("open")
        endpoint.indicateSendRoom(1_000)
        walk.disturb()
    }
    func finishSending(_ endpoint: Endpoint) {
        enter("finish")
        if endpoint.hasEnded { walk.violate("finish on an ended endpoint") }
        walk.disturb()
    }
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {
        enter("reset")
        walk.disturb()
    }
    func endpoint(_ endpoint: Endpoint, consumed count: Int) { enter("consumed") }
}

private final class WalkApplication: EndpointApplication {
    unowned let walk: Walk
    var ended = 0
    var opened = 0

    init(_ walk: Walk) { self.walk = walk }

    private func enter(_ name: String) {
        if ended > 0 { walk.violate("\(name) after the end") }
        walk.disturb()
    }

    func endpointOpened(_ endpoint: Endpoint) {
        opened += 1
        if opened > 1 { walk.violate("opened twice") }
        enter("opened")
    }
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) { enter("received") }
    func endpointReceivedEnd(_ endpoint: Endpoint) { enter("received end") }
    func endpointSendRoom(_ endpoint: Endpoint) { enter("room") }
    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        ended += 1
        if ended > 1 { walk.violate("ended twice") }
        walk.disturb()
    }
}

private final class Walk: EndpointAcceptor {
    var violations: [String] = []
    private var random: SeededRandom
    private let platform: Platform
    private let pool = BufferPool(capacity: 64, keepsAtMost: 4)
    private var pairs: [(provider: WalkProvider, instance: ProviderInstance)] = []
    private var applications: [WalkApplication] = []
    private var endpoints: [Endpoint] = []
    private var now = Instant.at(0)
    private var depth = 0

    init(seed: UInt64) {
        random = SeededRandom(seed)
        var configuration = PlatformConfiguration()
        configuration.limits.instances = 5
        configuration.limits.endpointsPerInstance = 20
        configuration.limits.pendedCallsPerInstance = 10
        configuration.limits.endpointsWaiting = 5
        platform = Platform(configuration: configuration, random: SeededRandom(seed &+ 1))
        platform.acceptor = self
    }

    func roll(_ sides: Int) -> Int { Int.random(in: 0..<sides, using: &random) }

    func violate(_ what: String) { violations.append(what) }

    /// Somebody calls back from within a call.
    func disturb() {
        guard depth < 4, roll(3) == 0 else { return }
        step()
    }

    func step() {
        depth += 1
        defer { depth -= 1 }
        switch roll(30) {
        case 0...2: create()
        case 3...8: openOne()
        case 9...10: bringOneIn()
        case 11...20: touchEndpoint()
        case 21...24: completeOne()
        case 25: letTimePass()
        case 26: moveInstance()
        case 27...28: endInstance()
        default: check()
        }
    }

    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        guard roll(4) > 0 else { return .refused }
        endpoint.application = application()
        endpoints.append(endpoint)
        disturb()
        return roll(6) == 0 ? .limit : nil
    }

    private func application() -> WalkApplication {
        let application = WalkApplication(self)
        applications.append(application)
        return application
    }

    private func anInstance() -> (provider: WalkProvider, instance: ProviderInstance)? {
        pairs.isEmpty ? nil : pairs[roll(pairs.count)]
    }

    private func create() {
        let provider = WalkProvider(self)
        guard let instance = try? platform.createInstance(provider: provider, name: "w", preference: roll(3)) else {
            return
        }
        provider.instance = instance
        pairs.append((provider, instance))
        try? instance.register(now: now)
        try? instance.begin(transportIDs: [.here, .elsewhere], now: now)
    }

    private func openOne() {
        let over = roll(3) == 0 ? anInstance()?.instance : nil
        let endpoint = try? platform.openEndpoint(
            kind: roll(4) == 0 ? .datagram : .stream, from: .here, to: roll(3) == 0 ? .elsewhere : .there,
            destination: EndpointDestination(port: 1), over: over, application: application(), now: now)
        if let endpoint { endpoints.append(endpoint) }
    }

    private func bringOneIn() {
        guard let pair = anInstance() else { return }
        let endpoint = try? pair.instance.indicateEndpoint(
            kind: .stream, local: .here, remote: .there, destination: EndpointDestination(port: 1), source: nil,
            providerContext: pair.provider)
        if let endpoint, !endpoint.hasEnded { endpoint.indicateSendRoom(100) }
    }

    private func touchEndpoint() {
        guard !endpoints.isEmpty else { return }
        let index = roll(endpoints.count)
        let endpoint = endpoints[index]
        switch roll(12) {
        case 0...2: endpoint.indicateOpened()
        case 3...4: endpoint.send(pool.lease(copying: [1, 2, 3].rawSpan))
        case 5...6: endpoint.indicateReceived(pool.lease(copying: [1, 2].rawSpan))
        case 7: endpoint.finishSending()
        case 8: endpoint.indicateReceivedEnd()
        case 9: endpoint.reset(.reset)
        case 10: endpoint.indicateReset(.refused)
        default: endpoint.consumed(1)
        }
    }

    private func completeOne() {
        guard let (provider, instance) = anInstance(), !provider.calls.isEmpty else { return }
        // Some are completed twice.
        let index = roll(provider.calls.count)
        let call = roll(5) == 0 ? provider.calls[index] : provider.calls.remove(at: index)
        try? instance.complete(call, [.completed, .completed, .completed, .refused][roll(4)], now: now)
    }

    private func letTimePass() {
        now = now + .seconds(roll(12))
        platform.handleTimeout(now: now)
    }

    private func moveInstance() {
        guard let instance = anInstance()?.instance else { return }
        switch roll(5) {
        case 0: try? instance.deactivate(now: now)
        case 1: try? instance.activate(now: now)
        case 2: try? instance.removeTransportID(.elsewhere, now: now)
        case 3: try? instance.addTransportID(.elsewhere, now: now)
        default: instance.reachabilityChanged(now: now)
        }
    }

    private func endInstance() {
        guard let (provider, instance) = anInstance() else { return }
        if roll(2) == 0 { instance.fail(SessionFault(.otherCommunicationError, "reset"), now: now) }
        if roll(2) == 0, (try? instance.deregister(now: now)) != nil { provider.isDeregistered = true }
        if (try? instance.destroy()) != nil { pairs.removeAll { $0.instance === instance } }
    }

    private func check() {
        for (provider, instance) in pairs {
            let hasSession = instance.state == .inSession || instance.state == .active
            if !hasSession, instance.pendedCalls != 0 { violate("pended calls without a session") }
            if hasSession, provider.terminated > 0 { violate("a session goes on after its end") }
            if instance.state != .active, depth == 1, !instance.endpoints.isEmpty {
                violate("endpoints without a session")
            }
            for (index, endpoint) in instance.endpoints.enumerated() {
                if endpoint.index != Int32(index) { violate("an endpoint's place is wrong") }
                if endpoint.instance !== instance || endpoint.hasEnded { violate("a dead endpoint is kept") }
            }
        }
    }

    /// At the end nothing is left of anything.
    func finish() {
        check()
        depth = 100
        platform.shutdown(now: now)
        for (provider, instance) in pairs {
            if provider.established != provider.terminated { violate("a session without an end") }
            _ = try? instance.deregister(now: now)
            _ = try? instance.destroy()
        }
        let stuck = endpoints.count { !$0.hasEnded || $0.application != nil || $0.providerContext != nil }
        if stuck > 0 { violate("\(stuck) endpoints did not end") }
        if pool.leased != 0 { violate("\(pool.leased) buffers are leaked") }
        if !platform.instances.isEmpty { violate("instances are left") }
        platform.handleTimeout(now: now + .seconds(1_000))
        if platform.nextDeadline != nil { violate("a deadline is left") }
        platform.acceptor = nil
    }
}
