// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

private final class Factory: ProviderFactory, Performer {
    let world: World
    var made: [ScriptedProvider] = []
    var fault: SessionFault?
    var prepare: (ScriptedProvider) -> Void = { _ in }

    init(_ world: World) {
        self.world = world
        Stage.current?.enter(self)
    }

    func letGo() { prepare = { _ in } }

    func makeProvider(for supervisor: Supervisor) throws(SessionFault) -> any Provider {
        if let fault { throw fault }
        let provider = world.provider("\(made.count)")
        prepare(provider)
        made.append(provider)
        return provider
    }
}

@Suite(.staged) struct SupervisorTests {
    private let world: World
    private let factory: Factory
    private let supervisor: Supervisor

    init() {
        world = World(seed: 42)
        factory = Factory(world)
        var settings = Supervisor.Settings(name: "relay", transportIDs: [.here])
        settings.friendlyName = "Relay"
        supervisor = Supervisor(platform: world.platform, settings: settings, factory: factory)
    }

    private func fail(_ message: String = "reset") {
        supervisor.instance?.fail(SessionFault(.otherCommunicationError, message), now: world.now)
    }

    @Test func itRemakesAnInstanceForEver() throws {
        supervisor.start(now: world.now)
        supervisor.start(now: world.now)
        let first = try #require(supervisor.instance)
        #expect(first.state == .active && supervisor.nextDeadline == nil)
        var ceiling = 0.5
        for round in 1...12 {
            fail()
            let delay = (try #require(world.platform.nextDeadline) - world.now).inSeconds
            #expect(delay >= ceiling / 2 - 1e-6 && delay <= ceiling + 1e-6, "round \(round): \(delay) s")
            world.advance(delay / 2)
            #expect(factory.made.count == round)
            world.advance(delay / 2 + 1e-6)
            #expect(factory.made.count == round + 1 && supervisor.instance?.state == .active)
            ceiling = min(30, ceiling * 2)
        }
        #expect(first.state == .destroyed && world.platform.instances.count == 1)
        // The interface outlived every session.
        #expect(supervisor.instance?.friendlyName == "Relay")
        #expect(supervisor.instance?.interfaceLUID == InterfaceLUID(rawValue: 1))
        #expect(supervisor.tries == 13)
    }

    @Test func aLongSessionBeginsTheBackOffAnew() throws {
        supervisor.start(now: world.now)
        for _ in 0..<5 {
            fail()
            world.advance(31)
        }
        world.advance(30)
        fail()
        #expect((try #require(supervisor.nextDeadline) - world.now).inSeconds > 4, "it lived for a minute at most")
        world.advance(31)
        world.advance(60.001)
        fail()
        #expect((try #require(supervisor.nextDeadline) - world.now).inSeconds <= 0.5)
    }

    @Test func jitterComesFromTheSeed() throws {
        func delays(_ seed: UInt64) throws -> [Duration] {
            let world = World(seed: seed)
            let factory = Factory(world)
            let supervisor = Supervisor(
                platform: world.platform, settings: Supervisor.Settings(name: "r", transportIDs: []), factory: factory)
            supervisor.start(now: world.now)
            return try (0..<5).map { _ in
                supervisor.instance?.fail(SessionFault(.providerTimeout, ""), now: world.now)
                let delay = try #require(supervisor.nextDeadline) - world.now
                world.advance(delay.inSeconds + 1e-6)
                return delay
            }
        }
        #expect(try delays(1) == delays(1))
        #expect(try delays(1) != delays(2))
    }

    @Test func everyWayOfFailingIsTriedAgain() throws {
        factory.fault = SessionFault(.providerOtherFailure, "no key")
        supervisor.start(now: world.now)
        #expect(supervisor.lastFault == factory.fault && supervisor.instance == nil)
        factory.fault = nil
        factory.prepare = { $0.onAdd = { _, _ in .failed(SessionFault(.providerOtherFailure, "refused")) } }
        world.advance(31)
        #expect(supervisor.lastFault == nil && supervisor.instance?.state == .terminated)
        factory.prepare = { $0.onActive = { _ in .pending } }
        world.advance(31)
        #expect(supervisor.instance?.state == .inSession)
        world.advance(30)
        #expect(supervisor.instance?.lastTermination?.reason == .providerTimeout)
        factory.prepare = { _ in }
        world.advance(31)
        #expect(supervisor.instance?.state == .active)
        #expect(
            world.platform.terminations(of: "relay").map(\.reason) == [.providerOtherFailure, .providerTimeout])
    }

    @Test func aFullPlatformIsTriedAgain() throws {
        let world = World { $0.limits.instances = 1 }
        let squatter = try world.instance(world.provider("squatter"))
        let supervisor = Supervisor(
            platform: world.platform, settings: Supervisor.Settings(name: "relay", transportIDs: []),
            factory: Factory(world))
        supervisor.start(now: world.now)
        #expect(supervisor.lastFault?.message.contains("instances (1)") == true)
        try squatter.deregister(now: world.now)
        try squatter.destroy()
        world.advance(31)
        #expect(supervisor.instance?.state == .active)
    }

    @Test func providersMayDoTheirOwnDuty() throws {
        factory.prepare = { provider in
            provider.onTerminate = {
                try? provider.instance?.deregister(now: self.world.now)
                try? provider.instance?.destroy()
            }
        }
        supervisor.start(now: world.now)
        let first = try #require(supervisor.instance)
        fail()
        #expect(first.state == .destroyed && world.platform.instances.isEmpty)
        world.advance(31)
        #expect(supervisor.instance !== first && supervisor.instance?.state == .active)
        #expect(world.platform.instances.count == 1)
    }

    @Test func aProviderThatDeregistersIsRemadeToo() throws {
        supervisor.start(now: world.now)
        try supervisor.instance?.deregister(now: world.now)
        world.advance(31)
        #expect(factory.made.count == 2 && supervisor.instance?.state == .active)
        #expect(factory.made[0].terminations.map(\.reason) == [.providerRequest])
    }

    @Test func anEndWithoutATimeIsStampedSoon() throws {
        supervisor.start(now: world.now)
        let application = world.application()
        let endpoint = try world.open(application)
        endpoint.indicateOpened()
        factory.made[0].onSend = { _, _ in .failed(SessionFault(.otherCommunicationError, "broken pipe")) }
        endpoint.send(world.bytes([1]))
        #expect(supervisor.nextDeadline == Instant(nanoseconds: 0))
        world.advance(1_000)
        #expect(factory.made.count == 1, "the back-off counts from the time that was told")
        #expect(try #require(supervisor.nextDeadline) > world.now)
        world.advance(1)
        #expect(factory.made.count == 2)
    }

    @Test func stoppingIsAPlatformShutdownAndFinal() throws {
        supervisor.start(now: world.now)
        supervisor.stop(now: world.now)
        supervisor.stop(now: world.now)
        #expect(factory.made[0].terminations.map(\.reason) == [.platformShutdown])
        #expect(supervisor.nextDeadline == nil && world.platform.instances.isEmpty)
        world.advance(1_000)
        #expect(factory.made.count == 1)
        supervisor.start(now: world.now)
        #expect(factory.made.count == 2)
        fail()
        supervisor.stop(now: world.now)
        world.advance(1_000)
        #expect(factory.made.count == 2 && world.platform.instances.isEmpty)
    }

    @Test func shuttingDownStopsIt() throws {
        supervisor.start(now: world.now)
        world.platform.shutdown(now: world.now)
        #expect(factory.made[0].terminations.map(\.reason) == [.platformShutdown])
        world.advance(1_000)
        #expect(factory.made.count == 1 && world.platform.nextDeadline == nil)
        supervisor.start(now: world.now)
        #expect(factory.made.count == 1)
    }
}
