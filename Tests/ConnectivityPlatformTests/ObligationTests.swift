// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

/// One test for each numbered obligation of the platform's API that the Swift side can show: 1 to 16, about the life
/// of an instance. 16 is shown as far as references go; a library's unloading belongs to the C API.
@Suite(.staged) struct ObligationTests {
    let world = World()

    @Test func obligation1HandsOverTheInstanceUnchanged() throws {
        let provider = world.provider()
        let instance = try world.platform.createInstance(provider: provider, name: "p")
        try instance.register(now: world.now)
        provider.onEstablish = { #expect(provider.instance === instance) }
        try instance.begin(transportIDs: [], now: world.now)
        // The provider is the user context: it is one and the same object for all calls.
        #expect(instance.provider === provider)
        #expect(world.log.lines == ["p: establish", "p: active"])
    }

    @Test func obligation2NamesTheNameless() throws {
        let names = try (0..<3).map { _ in try world.instance(world.provider(), in: .registered).friendlyName }
        #expect(names == (1...3).map { "Connectivity Platform Adapter #\($0)" })
    }

    @Test func obligation3GivesTakenNamesANumberAndCutsLongOnes() throws {
        func name(_ wanted: String) throws -> String {
            let instance = try world.instance(world.provider(), in: .created)
            try instance.register(friendlyName: wanted, now: world.now)
            return instance.friendlyName
        }
        #expect(try name("Home") == "Home")
        #expect(try name("Home") == "Home #2")
        #expect(try name("Home") == "Home #3")
        let long = String(repeating: "ü", count: 300)
        #expect(try name(long) == String(repeating: "ü", count: 256))
        #expect(try name(long) == String(repeating: "ü", count: 253) + " #2")
        #expect(try name("") == "Connectivity Platform Adapter #1")
        #expect(try name("Office\0rubbish") == "Office")
    }

    @Test(arguments: [nil, "Home"], [nil, InterfaceLUID(rawValue: 0)])
    func obligation4AcceptsNothing(_ name: String?, _ luid: InterfaceLUID?) throws {
        for users in [nil, [AllowedUser.group("users")]] {
            let instance = try world.instance(world.provider(), in: .created)
            try instance.register(friendlyName: name, interfaceLUID: luid, allowedUsers: users, now: world.now)
            #expect(instance.state == .registered)
            #expect(instance.allowedUsers == users)
            #expect(instance.interfaceLUID?.rawValue ?? 0 != 0)
        }
    }

    @Test func obligation5TakesUpTheInterfaceAgain() throws {
        let first = try world.instance(world.provider(), in: .created)
        try first.register(friendlyName: "Home", now: world.now)
        let luid = try #require(first.interfaceLUID)

        let second = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.interfaceInUse(luid)) { try second.register(interfaceLUID: luid, now: world.now) }
        try first.deregister(now: world.now)
        try second.register(interfaceLUID: luid, now: world.now)
        #expect(second.interfaceLUID == luid)
        #expect(second.friendlyName == "Home")
        try second.deregister(now: world.now)

        let stranger = try world.instance(world.provider("stranger"), in: .created)
        #expect(throws: PlatformError.unknownInterface(luid)) {
            try stranger.register(interfaceLUID: luid, now: world.now)
        }
        let third = try world.instance(world.provider(), in: .created)
        try third.register(friendlyName: "Away", interfaceLUID: luid, now: world.now)
        #expect(third.friendlyName == "Away")
    }

    @Test func obligation6RegistersAgainAfterAFailureOrIsDestroyed() throws {
        let unknown = InterfaceLUID(rawValue: 99)
        let again = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.unknownInterface(unknown)) {
            try again.register(interfaceLUID: unknown, now: world.now)
        }
        #expect(throws: PlatformError.invalidFlags(1)) { try again.register(flags: 1, now: world.now) }
        #expect(throws: PlatformError.self) { try again.register(allowedUsers: [.user("")], now: world.now) }
        #expect(again.state == .created)
        try again.register(now: world.now)

        let destroyed = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.self) { try destroyed.register(flags: 7, now: world.now) }
        try destroyed.destroy()
        #expect(destroyed.state == .destroyed)
    }

    @Test func obligation7EstablishesOnlyWhatIsRegistered() throws {
        let provider = world.provider()
        let instance = try world.instance(provider, in: .created)
        #expect(throws: PlatformError.self) { try instance.begin(transportIDs: [], now: world.now) }
        #expect(world.log.lines == [])
        try instance.register(now: world.now)
        #expect(world.log.lines == [])
        try instance.begin(transportIDs: [], now: world.now)
        #expect(world.log.lines.first == "p: establish")
        #expect(instance.state == .active)
    }

    @Test func obligation8TerminatesEstablishedSessionsOnly() throws {
        let provider = world.provider()
        let instance = try world.instance(provider, in: .registered)
        try instance.deregister(now: world.now)
        #expect(provider.terminations.isEmpty)
        #expect(SessionTerminationReason.allCases.map(\.rawValue) == [0, 1, 2, 3, 4])
        #expect(Set(SessionTerminationReason.allCases.map(\.description)).count == 5)
        #expect(Set(SessionTerminationReason.allCases.map(\.advice)).count == 5)
    }

    @Test func obligation9ProviderRequest() throws {
        let provider = world.provider()
        try world.instance(provider).deregister(now: world.now)
        #expect(provider.terminations.map(\.reason) == [.providerRequest])
    }

    @Test func obligation10PlatformShutdown() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let session = world.provider("q")
        _ = try world.instance(session, in: .inSession)
        world.platform.shutdown(now: world.now)
        world.platform.shutdown(now: world.now)
        #expect(provider.terminations.map(\.reason) == [.platformShutdown])
        #expect(session.terminations.map(\.reason) == [.platformShutdown])
        #expect(instance.state == .terminated)
    }

    @Test func obligation10OnlyThePlatformShutsDown() throws {
        let provider = world.provider()
        try world.instance(provider).fail(SessionFault(.platformShutdown, "says it"), now: world.now)
        #expect(provider.terminations.map(\.reason) == [.providerOtherFailure])
    }

    @Test(arguments: [
        SessionTerminationReason.providerTimeout, .providerOtherFailure, .otherCommunicationError,
    ]) func obligation11To13CarriesTheBlameFromWhereItIsFound(_ reason: SessionTerminationReason) throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        world.now = world.now + .seconds(5)
        instance.fail(SessionFault(reason, "what happened"), now: world.now)
        instance.fail(SessionFault(.providerRequest, "again"), now: world.now)
        #expect(provider.terminations.map(\.reason) == [reason])
        #expect(provider.terminations.map(\.message) == ["what happened"])
        let record = try #require(instance.lastTermination)
        #expect(record.reason == reason && record.message == "what happened" && record.activeFor == .seconds(5))
        #expect(world.platform.terminations(of: "p") == [record])
    }

    @Test(arguments: [SessionTerminationReason.providerOtherFailure, .otherCommunicationError, .providerTimeout])
    func obligation12AFailedCallEndsTheSession(_ reason: SessionTerminationReason) throws {
        let fault = SessionFault(reason, "refused by the relay")
        for step in ["add", "active", "reach", "send"] {
            let world = World()
            let provider = world.provider()
            switch step {
            case "add": provider.onAdd = { _, _ in .failed(fault) }
            case "active": provider.onActive = { _ in .failed(fault) }
            case "reach": provider.onReach = { _, _ in .failed(fault) }
            default: provider.onSend = { _, _ in .failed(fault) }
            }
            let instance = try world.platform.createInstance(provider: provider, name: "p")
            try instance.register(now: world.now)
            try instance.begin(transportIDs: [.here], now: world.now)
            if step == "reach" { #expect(throws: PlatformError.self) { try world.open(world.application()) } }
            if step == "send" { try world.open(world.application()).send(world.bytes([1])) }
            #expect(provider.terminations.map(\.reason) == [reason], "\(step)")
            #expect(instance.lastTermination?.message == fault.message)
        }
    }

    @Test func obligation14DeregistersBeforeItDestroys() throws {
        for state in [InstanceState.registered, .inSession, .active, .terminated] {
            let instance = try world.instance(world.provider(), in: state)
            #expect(throws: PlatformError.invalidState(operation: "destroy", state: state)) { try instance.destroy() }
            try instance.deregister(now: world.now)
            try instance.destroy()
        }
        #expect(world.platform.instances.isEmpty)
    }

    @Test func obligation15DestroysOnce() throws {
        let instance = try world.instance(world.provider(), in: .destroyed)
        #expect(throws: PlatformError.destroyed) { try instance.destroy() }
        #expect(PlatformError.destroyed.code == 0x8007_0006)
    }

    @Test func obligation16KeepsNothingOfADestroyedInstance() throws {
        weak var provider: ScriptedProvider?
        weak var application: ScriptedApplication?
        weak var context: Log?
        weak var endpoint: Endpoint?
        var instance: ProviderInstance?
        do {
            let (strong, user, stream) = (world.provider(), world.application(), Log())
            strong.onReach = { _, _ in .completed }
            instance = try world.instance(strong)
            let opened = try world.open(user)
            opened.providerContext = stream
            (provider, application, context, endpoint) = (strong, user, stream, opened)
        }
        #expect(provider != nil && application != nil && context != nil)
        try instance?.deregister(now: world.now)
        #expect(application == nil && context == nil && endpoint == nil)
        try instance?.destroy()
        #expect(provider == nil)
        weak let handle = instance
        instance = nil
        #expect(handle == nil)
    }
}
