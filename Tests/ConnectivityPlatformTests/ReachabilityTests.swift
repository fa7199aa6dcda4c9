// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

@Suite(.staged) struct ReachabilityTests {
    private func name(_ reachability: Reachability) -> String {
        switch reachability {
        case .reachable(let instance): instance.name
        case .asking: "asking"
        case .unreachable: "unreachable"
        }
    }

    @Test func endpointsWaitForThePendedAnswer() throws {
        let world = World()
        let provider = world.provider()
        provider.onReach = { _, _ in .pending }
        let instance = try world.instance(provider)
        let (first, second) = (world.application("first"), world.application("second"))
        let endpoints = try [world.open(first), world.open(second)]
        #expect(provider.pended.count == 1, "one question for both")
        #expect(name(world.platform.reach(.there, now: world.now)) == "asking")
        #expect(endpoints.allSatisfy { $0.instance == nil && !$0.hasEnded })
        world.log.lines = []
        try instance.complete(provider.pended.removeFirst(), .completed, now: world.now)
        #expect(endpoints.allSatisfy { $0.instance === instance })
        #expect(world.log.lines == ["p: open", "p: open"])
        #expect(name(world.platform.reach(.there, now: world.now)) == "p")
    }

    @Test func theNextInstanceIsAskedWhenTheFirstRefuses() throws {
        let world = World()
        let (first, second) = (world.provider("first"), world.provider("second"))
        first.onReach = { _, _ in .pending }
        second.onReach = { _, _ in .pending }
        let one = try world.instance(first)
        let two = try world.instance(second)
        let application = world.application()
        let endpoint = try world.open(application)
        #expect(second.pended.isEmpty)
        try one.complete(first.pended.removeFirst(), .refused, now: world.now)
        #expect(second.pended.count == 1 && !endpoint.hasEnded)
        try two.complete(second.pended.removeFirst(), .refused, now: world.now)
        #expect(application.ends == [.reset(.unreachable)])
        #expect(world.platform.nextDeadline == nil)
    }

    @Test func theNextInstanceIsAskedWhenTheFirstEnds() throws {
        let world = World()
        let (first, second) = (world.provider("first"), world.provider("second"))
        first.onReach = { _, _ in .pending }
        _ = try world.instance(first)
        let two = try world.instance(second)
        let endpoint = try world.open(world.application())
        world.advance(10)
        #expect(first.terminations.map(\.reason) == [.providerTimeout])
        #expect(endpoint.instance === two)
    }

    @Test func withNobodyLeftToAskItIsUnreachable() throws {
        let world = World()
        let provider = world.provider()
        provider.onReach = { _, _ in .pending }
        let instance = try world.instance(provider)
        let (waiting, over, reset) = (world.application(), world.application("b"), world.application("c"))
        _ = try world.open(waiting)
        _ = try world.open(over, over: instance)
        try world.open(reset).reset(.noError)
        instance.fail(SessionFault(.otherCommunicationError, "gone"), now: world.now)
        #expect(waiting.ends == [.reset(.unreachable)] && over.ends == [.reset(.unreachable)])
        #expect(reset.ends == [.reset(.noError)])
        #expect(world.platform.nextDeadline == nil)
    }

    @Test func sendingBeforeTheWayIsKnownIsAViolationForAStreamAndALossForADatagram() throws {
        let world = World()
        let provider = world.provider()
        provider.onReach = { _, _ in .pending }
        _ = try world.instance(provider)
        let (stream, datagram) = (world.application("stream"), world.application("datagram"))
        try world.open(stream).send(world.bytes([1]))
        try world.open(datagram, kind: .datagram).send(world.bytes([1]))
        #expect(stream.ends == [.reset(.protocolViolation)] && datagram.ends == [])
        #expect(provider.sent.isEmpty && world.pool.leased == 0)
    }

    @Test func waitingEndpointsTimeOutAndEndWithThePlatform() throws {
        let world = World {
            $0.deadlines.openEndpoint = .seconds(1)
            $0.limits.endpointsWaiting = 2
        }
        let provider = world.provider()
        provider.onReach = { _, _ in .pending }
        _ = try world.instance(provider)
        let (slow, late) = (world.application("slow"), world.application("late"))
        _ = try world.open(slow)
        world.advance(1)
        #expect(slow.ends == [.reset(.timedOut)])
        _ = try world.open(late)
        _ = try world.open(world.application())
        #expect(throws: PlatformError.limitReached("endpointsWaiting", 2)) { try world.open(world.application()) }
        world.platform.shutdown(now: world.now)
        #expect(late.ends == [.reset(.unreachable)] || late.ends == [.reset(.sessionEnded)])
        #expect(world.platform.nextDeadline == nil)
    }

    @Test func verdictsAgeAndCanBeTakenBack() throws {
        let world = World {
            $0.reachableFor = .seconds(60)
            $0.unreachableFor = .seconds(2)
        }
        let provider = world.provider()
        var answer = CallOutcome.refused
        provider.onReach = { _, _ in answer }
        let instance = try world.instance(provider)
        func ask() -> String { name(world.platform.reach(.there, now: world.now)) }
        #expect(ask() == "unreachable")
        answer = .completed
        world.advance(1.9)
        #expect(ask() == "unreachable")
        world.advance(0.1)
        #expect(ask() == "p")
        answer = .refused
        world.advance(59)
        #expect(ask() == "p")
        world.advance(1)
        #expect(ask() == "unreachable")
        answer = .completed
        instance.reachabilityChanged(.elsewhere, now: world.now)
        #expect(ask() == "unreachable")
        instance.reachabilityChanged(.there, now: world.now)
        #expect(ask() == "p")
    }

    @Test func verdictsAreBounded() throws {
        let world = World { $0.limits.reachVerdictsPerInstance = 10 }
        let instance = try world.instance(world.provider())
        for index in 0..<1_000 {
            _ = world.platform.reach(TransportID(IPAddress(v6: UInt128(index + 1))), now: world.now)
            #expect(instance.reach.count <= 10)
        }
    }
}
