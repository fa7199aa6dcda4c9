// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

@Suite(.staged) struct DeadlineTests {
    /// Obligation 25, for each call that may pend, to the nanosecond.
    @Test(arguments: [
        "addTransportID", "transitionActive", "reachTransportID", "removeTransportID", "transitionInactive",
    ])
    func obligation25APendedCallHasADeadline(_ call: String) throws {
        let world = World {
            $0.deadlines.addTransportID = .seconds(7)
            $0.deadlines.transitionActive = .seconds(7)
            $0.deadlines.reachTransportID = .seconds(7)
            $0.deadlines.removeTransportID = .seconds(7)
            $0.deadlines.transitionInactive = .seconds(7)
        }
        let provider = world.provider()
        if call == "addTransportID" { provider.onAdd = { _, _ in .pending } }
        if call == "transitionActive" { provider.onActive = { _ in .pending } }
        provider.onReach = { _, _ in .pending }
        provider.onRemove = { _, _ in .pending }
        provider.onInactive = { _ in .pending }
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        if call == "reachTransportID" { _ = world.platform.reach(.there, now: world.now) }
        if call == "removeTransportID" { try instance.removeTransportID(.here, now: world.now) }
        if call == "transitionInactive" { try instance.deactivate(now: world.now) }

        let due = world.now + .seconds(7)
        #expect(world.platform.nextDeadline == due)
        world.platform.handleTimeout(now: Instant(nanoseconds: due.nanoseconds - 1))
        #expect(provider.terminations.isEmpty)
        world.platform.handleTimeout(now: due)
        #expect(provider.terminations.map(\.reason) == [.providerTimeout])
        #expect(provider.terminations[0].message.contains(call))
        #expect(provider.terminations[0].message.contains("7.0 s"))
        #expect(throws: PlatformError.self) { try instance.complete(provider.pended[0], .completed, now: due) }
        #expect(world.platform.nextDeadline == nil)
    }

    @Test func obligation25APendedSendHasADeadlineToo() throws {
        let world = World { $0.deadlines.sendBuffers = .seconds(3) }
        let provider = world.provider()
        let instance = try world.instance(provider)
        let application = world.application()
        let endpoint = try world.open(application)
        endpoint.indicateOpened()
        provider.onSend = { _, _ in .pending }
        // Nobody tells the time on the hot path: the deadline counts from when it is told next.
        endpoint.send(world.bytes([1]))
        #expect(world.platform.nextDeadline == Instant(nanoseconds: 0))
        world.advance(1_000)
        #expect(instance.state == .active)
        #expect(world.platform.nextDeadline == world.now + .seconds(3))
        world.advance(3)
        #expect(provider.terminations.map(\.reason) == [.providerTimeout])
        #expect(application.ends == [.sessionTerminated(.providerTimeout)])
    }

    @Test func aSendCompletedInTimeLeavesNothing() throws {
        let world = World()
        let provider = world.provider()
        let instance = try world.instance(provider)
        let endpoint = try world.open(world.application())
        endpoint.indicateOpened()
        provider.onSend = { _, _ in .pending }
        endpoint.send(world.bytes([1]))
        world.advance(0)
        endpoint.send(world.bytes([2]))
        for call in provider.pended { try instance.complete(call, .completed, now: world.now) }
        #expect(world.platform.nextDeadline == nil && instance.pendedCalls == 0)
        world.advance(10_000)
        #expect(instance.state == .active)
    }

    @Test func theFirstOfManyDeadlinesIsTold() throws {
        let world = World {
            $0.deadlines.transitionActive = .seconds(5)
            $0.deadlines.addTransportID = .seconds(9)
        }
        let observer = DeadlineObserver()
        world.platform.observer = observer
        var providers: [ScriptedProvider] = []
        for (index, call) in ["add", "active", "add", "active"].enumerated() {
            let provider = world.provider("\(index)")
            if call == "add" { provider.onAdd = { _, _ in .pending } } else { provider.onActive = { _ in .pending } }
            let instance = try world.instance(provider, in: .registered)
            try instance.begin(transportIDs: [.here], now: world.now)
            providers.append(provider)
            world.now = world.now + .seconds(1)
        }
        #expect(observer.moved == 2, "for the first, and for the second that came before it")
        for (index, time) in [(1, 6.0), (3, 8), (0, 9), (2, 11)] {
            #expect(world.platform.nextDeadline == .at(time))
            world.platform.handleTimeout(now: .at(time))
            #expect(providers.indices.filter { !providers[$0].terminations.isEmpty }.contains(index))
        }
        #expect(world.platform.nextDeadline == nil)
    }

    final class DeadlineObserver: PlatformObserver {
        var moved = 0
        func platformDeadlineMoved(_ platform: Platform) { moved += 1 }
    }

    @Test func anEndpointThatNobodyAnswersTimesOut() throws {
        let world = World { $0.deadlines.openEndpoint = .seconds(4) }
        let provider = world.provider()
        let instance = try world.instance(provider)
        let (silent, answered) = (world.application("silent"), world.application("answered"))
        _ = try world.open(silent)
        try world.open(answered).indicateOpened()
        #expect(world.platform.nextDeadline == .at(4))
        world.advance(4)
        #expect(silent.ends == [.reset(.timedOut)] && answered.ends == [])
        #expect(world.log.lines.suffix(2) == ["silent: ended reset(timed out)", "p: reset timed out"])
        #expect(instance.state == .active && world.platform.nextDeadline == nil)
    }

    @Test func handlingATimeoutEarlyOrOftenDoesNoHarm() throws {
        let world = World()
        world.platform.handleTimeout(now: .at(5))
        world.platform.handleTimeout(now: .at(1))
        #expect(world.platform.now == .at(5))
        #expect(world.platform.nextDeadline == nil)
    }

    @Test(arguments: [UInt64(1), 2, 3, UInt64.random(in: 4...UInt64.max)])
    func theListAgreesWithASimpleOne(seed: UInt64) {
        var random = SeededRandom(seed)
        var list = DeadlineList<Int>()
        var model: [(deadline: Instant, element: Int, handle: Int32)] = []
        for step in 0..<3_000 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0...1:
                // Mostly in order, as when all are given the same time.
                let back = Int.random(in: 0..<20, using: &random) == 0 ? 500 : 0
                let deadline = Instant(nanoseconds: UInt64(max(0, step - back)))
                model.append((deadline, step, list.insert(step, at: deadline)))
            case 2...3 where !model.isEmpty:
                list.remove(model.remove(at: Int.random(in: model.indices, using: &random)).handle)
            default:
                let now = Instant(nanoseconds: UInt64(max(0, step - 50)))
                let first = model.filter { $0.deadline <= now }.min { $0.deadline < $1.deadline }
                let popped = list.popExpired(now)
                #expect((popped == nil) == (first == nil))
                guard let popped, let index = model.firstIndex(where: { $0.element == popped }) else { continue }
                #expect(model[index].deadline == first?.deadline)
                model.remove(at: index)
            }
            #expect(list.first == model.map(\.deadline).min())
            #expect(list.isEmpty == model.isEmpty)
        }
        list.remove(DeadlineList<Int>.none)
        list.remove(1 << 20)
    }
}
