// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

@Suite(.staged) struct LifeCycleTests {
    /// The whole table: what is not here is refused.
    static let moves: [(InstanceState, LifeCycle.Event, InstanceState)] = [
        (.created, .register, .registered), (.registered, .establish, .inSession), (.inSession, .activate, .active),
        (.active, .deactivate, .inSession), (.inSession, .terminate, .terminated), (.active, .terminate, .terminated),
        (.registered, .deregister, .deregistered), (.terminated, .deregister, .deregistered),
        (.created, .destroy, .destroyed), (.deregistered, .destroy, .destroyed),
    ]

    /// A shortest way into each state.
    static let ways: [InstanceState: [LifeCycle.Event]] = [
        .created: [], .registered: [.register], .inSession: [.register, .establish],
        .active: [.register, .establish, .activate], .terminated: [.register, .establish, .terminate],
        .deregistered: [.register, .deregister], .destroyed: [.destroy],
    ]

    @Test(arguments: InstanceState.allCases, LifeCycle.Event.allCases)
    func everyEventInEveryState(_ state: InstanceState, _ event: LifeCycle.Event) throws {
        var lifeCycle = LifeCycle()
        for step in try #require(LifeCycleTests.ways[state]) { try lifeCycle.apply(step) }
        try #require(lifeCycle.state == state)
        if let next = LifeCycleTests.moves.first(where: { $0.0 == state && $0.1 == event })?.2 {
            try lifeCycle.check(event)
            try lifeCycle.apply(event)
            #expect(lifeCycle.state == next)
        } else {
            let expected: PlatformError =
                state == .destroyed ? .destroyed : .invalidState(operation: "\(event)", state: state)
            #expect(throws: expected) { try lifeCycle.check(event) }
            #expect(throws: expected) { try lifeCycle.apply(event) }
            #expect(lifeCycle.state == state)
        }
    }
}

/// Every call of the instance in every state (obligation 31): it works, or throws and changes nothing.
@Suite(.staged) struct WrongCallTests {
    struct Operation: Sendable, CustomTestStringConvertible {
        let name: String
        let allowed: Set<InstanceState>
        let run: @Sendable (World, ProviderInstance) throws -> Void
        var testDescription: String { name }
    }

    static let operations = [
        Operation(name: "register", allowed: [.created]) { try $1.register(now: $0.now) },
        Operation(name: "deregister", allowed: [.registered, .inSession, .active, .terminated]) {
            try $1.deregister(now: $0.now)
        },
        Operation(name: "destroy", allowed: [.created, .deregistered]) { try $1.destroy() },
        Operation(name: "establish", allowed: [.registered]) { try $1.begin(transportIDs: [.here], now: $0.now) },
        Operation(name: "addTransportID", allowed: [.inSession, .active]) {
            try $1.addTransportID(.elsewhere, now: $0.now)
        },
        Operation(name: "removeTransportID", allowed: [.inSession, .active]) {
            try $1.removeTransportID(.here, now: $0.now)
        },
        Operation(name: "deactivate", allowed: [.active]) { try $1.deactivate(now: $0.now) },
        Operation(name: "activate", allowed: []) { try $1.activate(now: $0.now) },
        Operation(name: "indicateReceivedBuffers", allowed: [.active]) {
            try $1.indicateReceivedBuffers(to: .here, from: .there, [1, 2].rawSpan)
        },
    ]

    @Test(arguments: InstanceState.allCases, operations)
    func everyCallInEveryState(_ state: InstanceState, _ operation: Operation) throws {
        let world = World()
        let provider = world.provider()
        let instance = try world.instance(provider, in: state)
        world.log.lines = []
        if operation.allowed.contains(state) {
            try operation.run(world, instance)
        } else {
            #expect(throws: WrongCallTests.expected(operation, in: state)) { try operation.run(world, instance) }
            #expect(instance.state == state)
            #expect(world.log.lines == [])
        }
        #expect(provider.terminations.count <= 1)
    }

    /// `activate` is only for a session that was made inactive; while it is being set up it is refused, too.
    private static func expected(_ operation: Operation, in state: InstanceState) -> PlatformError {
        state == .destroyed ? .destroyed : .invalidState(operation: operation.name, state: state)
    }

    @Test(arguments: InstanceState.allCases) func failWithoutASessionDoesNothing(_ state: InstanceState) throws {
        let world = World()
        let provider = world.provider()
        let instance = try world.instance(provider, in: state)
        let told = provider.terminations.count
        instance.fail(SessionFault(.providerTimeout, "the peer is silent"), now: world.now)
        let hadSession = state == .inSession || state == .active
        #expect(instance.state == (hadSession ? .terminated : state))
        #expect(provider.terminations.count == told + (hadSession ? 1 : 0))
    }

    @Test(arguments: InstanceState.allCases) func endpointsAreForActiveSessionsOnly(_ state: InstanceState) throws {
        let world = World()
        let instance = try world.instance(world.provider(), in: state)
        world.acceptor.accept = {
            $0.application = world.application()
            return nil
        }
        if state == .active {
            #expect(try world.open(world.application()).instance === instance)
            #expect(throws: Never.self) { try bringIn(instance) }
        } else {
            #expect(throws: PlatformError.unreachable(.there)) { try world.open(world.application()) }
            #expect(throws: PlatformError.unreachable(.there)) { try world.open(world.application(), over: instance) }
            #expect(throws: EndpointResetCode.sessionEnded) { try bringIn(instance) }
        }
    }

    private func bringIn(_ instance: ProviderInstance) throws {
        _ = try instance.indicateEndpoint(
            kind: .stream, local: .here, remote: .there, destination: EndpointDestination(port: 1), source: nil,
            providerContext: nil)
    }

    @Test(arguments: InstanceState.allCases) func completingWhatIsNotPendedIsRefused(_ state: InstanceState) throws {
        let world = World()
        let instance = try world.instance(world.provider(), in: state)
        let call = PendedCall(id: 4_711)
        #expect(throws: state == .destroyed ? PlatformError.destroyed : .unknownCall(call)) {
            try instance.complete(call, .completed, now: world.now)
        }
        #expect(instance.state == state)
    }

    @Test func aPlatformThatIsGoneIsAnErrorToo() throws {
        var platform: Platform? = Platform(random: SeededRandom(1))
        let provider = ScriptedProvider()
        let instance = try #require(try platform?.createInstance(provider: provider, name: "p"))
        platform = nil
        #expect(throws: PlatformError.stopped) { try instance.register(now: .at(0)) }
        try instance.destroy()
        #expect(instance.state == .destroyed)
    }

    @Test func aPlatformThatStoppedTakesNothingNew() throws {
        let world = World()
        let registered = try world.instance(world.provider(), in: .registered)
        let created = try world.instance(world.provider("q"), in: .created)
        world.platform.shutdown(now: world.now)
        #expect(throws: PlatformError.stopped) { try registered.begin(transportIDs: [], now: world.now) }
        #expect(throws: PlatformError.stopped) { try created.register(now: world.now) }
        #expect(throws: PlatformError.stopped) { try world.instance(world.provider()) }
        #expect(throws: PlatformError.stopped) { try world.open(world.application()) }
        try registered.deregister(now: world.now)
        try registered.destroy()
        try created.destroy()
        #expect(world.platform.instances.isEmpty)
    }

    @Test func everyErrorHasACodeAndWords() {
        let errors: [PlatformError] = [
            .invalidState(operation: "register", state: .active), .destroyed, .stopped, .invalidArgument("no"),
            .invalidFlags(1), .unknownCall(PendedCall(id: 1)), .unknownInterface(InterfaceLUID(rawValue: 1)),
            .interfaceInUse(InterfaceLUID(rawValue: 1)), .limitReached("instances", 1), .unreachable(.there),
        ]
        #expect(Set(errors.map(\.code)).count == errors.count)
        #expect(Set(errors.map(\.description)).count == errors.count)
        // All are failures, and none is the code of a pended call.
        #expect(errors.allSatisfy { $0.code >> 31 == 1 && $0.code != CallOutcome.pendingCode })
    }
}
