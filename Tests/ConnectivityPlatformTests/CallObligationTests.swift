// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

/// Obligations 17 to 32: calls, their completion, and what they carry.
@Suite(.staged) struct CallObligationTests {
    let world = World()

    @Test func obligation17TriesAnotherIDInThePlaceOfADuplicate() throws {
        let provider = world.provider()
        var refusals = 3
        provider.onAdd = { _, _ in
            refusals -= 1
            return refusals >= 0 ? .refused : .completed
        }
        let instance = try world.instance(provider)
        let id = try #require(instance.transportIDs.first)
        #expect(id != .here && instance.transportIDs.count == 1)
        #expect(id.address.value >> 80 == TransportIDPrefix.uniqueLocal.address.value >> 80)
        #expect(world.log.lines.count { $0.hasPrefix("p: add") } == 4)
    }

    @Test func obligation17EndsTheSessionWhenEveryIDIsRefused() throws {
        let provider = world.provider()
        provider.onAdd = { _, _ in .refused }
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        #expect(provider.terminations.map(\.reason) == [.providerOtherFailure])
        #expect(
            world.log.lines.count { $0.hasPrefix("p: add") } == 1 + world.platform.configuration.limits.transportIDTries
        )
    }

    @Test func obligation17AddsAllOfThemInOrderAndOnce() throws {
        let provider = world.provider()
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here, .elsewhere, .here], now: world.now)
        #expect(instance.transportIDs == [.here, .elsewhere])
        #expect(
            world.log.take() == ["p: establish", "p: add \(TransportID.here)", "p: add 192.0.2.1", "p: active"])
        try instance.removeTransportID(.here, now: world.now)
        try instance.addTransportID(.there, now: world.now)
        #expect(instance.transportIDs == [.elsewhere, .there])
        #expect(throws: PlatformError.self) { try instance.addTransportID(.there, now: world.now) }
        #expect(throws: PlatformError.self) { try instance.removeTransportID(.here, now: world.now) }
        #expect(throws: PlatformError.self) {
            try instance.addTransportID(TransportID(IPAddress.anyV6), now: world.now)
        }
    }

    @Test func obligation18SendsOnlyOverAnInstanceThatReaches() throws {
        let (blind, first, second) = (world.provider("blind"), world.provider("first"), world.provider("second"))
        blind.onReach = { _, _ in .refused }
        _ = try world.instance(second, preference: 2)
        _ = try world.instance(first, preference: 1)
        _ = try world.instance(blind, preference: 0)
        world.log.lines = []
        let endpoint = try world.open(world.application())
        #expect(endpoint.instance?.name == "first")
        #expect(
            world.log.take() == [
                "blind: reach \(TransportID.there)", "first: reach \(TransportID.there)", "first: open",
            ])
        // What they said is remembered.
        _ = try world.open(world.application())
        #expect(world.log.take() == ["first: open"])
    }

    @Test func obligation18AndNowhereElse() throws {
        let provider = world.provider()
        provider.onReach = { _, _ in .refused }
        let instance = try world.instance(provider)
        #expect(throws: PlatformError.unreachable(.there)) { try world.open(world.application()) }
        #expect(throws: PlatformError.unreachable(.there)) { try world.open(world.application(), over: instance) }
        // An instance that does not hold the local ID does not carry for it either.
        #expect(throws: PlatformError.unreachable(.there)) {
            try world.platform.openEndpoint(
                kind: .stream, from: .elsewhere, to: .there, destination: EndpointDestination(port: 1),
                application: world.application(), now: world.now)
        }
    }

    @Test func obligation19PendedCallsEndWithTheirCompletion() throws {
        let provider = world.provider()
        provider.onAdd = { _, _ in .pending }
        provider.onActive = { _ in .pending }
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        #expect(instance.transportIDs == [] && instance.pendedCalls == 1)
        try instance.complete(provider.pended.removeFirst(), .completed, now: world.now)
        #expect(instance.transportIDs == [.here] && instance.state == .inSession)
        try instance.complete(provider.pended.removeFirst(), .completed, now: world.now)
        #expect(instance.state == .active && instance.pendedCalls == 0)
        #expect(world.platform.nextDeadline == nil)
        #expect(CallOutcome.pending.code == 0x8007_03E5)
        #expect(
            Set([CallOutcome.completed, .refused, .failed(SessionFault(.providerTimeout, ""))].map(\.code)).count == 3)
    }

    @Test func obligation19CompletesFromWithinThePendedCall() throws {
        let provider = world.provider()
        provider.onAdd = { _, call in
            #expect(throws: Never.self) { try provider.instance?.complete(call, .completed, now: .at(0)) }
            #expect(throws: PlatformError.unknownCall(call)) {
                try provider.instance?.complete(call, .completed, now: .at(0))
            }
            return .pending
        }
        let instance = try world.instance(provider)
        #expect(instance.transportIDs == [.here] && instance.pendedCalls == 0)
        #expect(throws: PlatformError.self) { try instance.complete(provider.pended[0], .refused, now: world.now) }
    }

    @Test func obligation19ASynchronousCallIgnoresACompletion() throws {
        let provider = world.provider()
        provider.onAdd = { _, call in
            try? provider.instance?.complete(call, .refused, now: .at(0))
            return .completed
        }
        #expect(try world.instance(provider).transportIDs == [.here])
        #expect(world.log.lines.count { $0.hasPrefix("p: add") } == 1)
    }

    @Test func obligation19CompletesNestedCallsEachForItself() throws {
        let provider = world.provider()
        let (outer, inner) = (world.application("outer"), world.application("inner"))
        let instance = try world.instance(provider)
        let (first, second) = (try world.open(outer), try world.open(inner))
        var calls: [PendedCall] = []
        provider.onSend = { endpoint, call in
            calls.append(call)
            guard endpoint === first else {
                // The inner call completes the outer one, then itself.
                #expect(throws: Never.self) { try instance.complete(calls[0], .completed, now: .at(0)) }
                #expect(throws: Never.self) { try instance.complete(call, .completed, now: .at(0)) }
                return .pending
            }
            second.send(self.world.bytes([2]))
            return .pending
        }
        first.send(world.bytes([1]))
        #expect(instance.pendedCalls == 0 && instance.state == .active)
        for call in calls {
            #expect(throws: PlatformError.unknownCall(call)) { try instance.complete(call, .completed, now: world.now) }
        }
    }

    @Test(arguments: ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%1"])
    func obligation20TransportIDsAreAddressesThatCanBeCopied(_ text: String) throws {
        let address = try #require(IPAddress(text))
        let id = TransportID(address)
        #expect(TransportID(bytes: id.bytes) == id)
        #expect(id.address.value == address.canonical.value && id.address.scope == 0)
        #expect(id.bytes.count == (address.canonical.family == .v4 ? 4 : 16))
        #expect(id.description == "\(id.address)")
        for count in 0..<20 where count != 4 && count != 16 {
            #expect(TransportID(bytes: [UInt8](repeating: 1, count: count)) == nil)
        }
    }

    @Test(arguments: [0, 1, 47, 48, 127, 128, 400]) func obligation20GeneratesWithinThePrefix(_ length: Int) {
        var random = SeededRandom(7)
        let prefix = TransportIDPrefix(TransportID.there.address, length: length)
        let ids = (0..<50).map { _ in prefix.next(using: &random) }
        #expect(
            ids.allSatisfy {
                length == 0
                    || $0.address.value >> UInt128(128 - min(128, length)) == prefix.address.value
                        >> UInt128(128 - min(128, length))
            })
        #expect(Set(ids).count > (length >= 127 ? 0 : 45))
        let narrow = TransportIDPrefix(IPAddress(v4: 0x0A00_0000), length: 8)
        #expect(narrow.next(using: &random).address.value >> 24 == 10)
    }

    @Test func obligation21NamesSourceAndDestination() throws {
        let (provider, receiver) = (world.provider(), RecordingReceiver())
        world.platform.packetReceiver = receiver
        let instance = try world.instance(provider)
        let endpoint = try world.open(world.application())
        world.log.lines = []
        endpoint.send(world.bytes([1, 2, 3]))
        #expect(world.log.lines == ["p: send 3 \(TransportID.here) \(TransportID.there)"])
        try instance.indicateReceivedBuffers(to: .here, from: .there, [9].rawSpan)
        #expect(receiver.packets.first?.local == .here && receiver.packets.first?.remote == .there)
        #expect(throws: PlatformError.self) {
            try instance.indicateReceivedBuffers(to: .there, from: .here, [9].rawSpan)
        }
    }

    @Test func obligation22And30IndicatesWithAndWithoutACompletion() throws {
        let receiver = RecordingReceiver()
        world.platform.packetReceiver = receiver
        let instance = try world.instance(world.provider())
        var chain = Ring<Slice>()
        for byte in UInt8(1)...3 { chain.append(world.bytes([byte, byte])) }
        var completions = 0
        try instance.indicateReceivedBuffers(to: .here, from: .there, chain: chain) { completions += 1 }
        try instance.indicateReceivedBuffers(to: .here, from: .there, chain: chain)
        #expect(completions == 1)
        #expect(receiver.packets.map(\.bytes) == [[1, 1], [2, 2], [3, 3], [1, 1], [2, 2], [3, 3]])
        // On return the platform is done with them.
        chain.removeAll()
        #expect(world.pool.leased == 0)
        #expect(instance.counters.bytesReceived == 12)
        try instance.deregister(now: world.now)
        chain.append(world.bytes([1]))
        #expect(throws: PlatformError.self) {
            try instance.indicateReceivedBuffers(to: .here, from: .there, chain: chain) { completions += 1 }
        }
        #expect(completions == 1)
    }

    @Test func obligation24CompletesExactlyOnce() throws {
        let provider = world.provider()
        provider.onAdd = { _, _ in .pending }
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        let call = provider.pended[0]
        #expect(throws: PlatformError.self) { try instance.complete(call, .pending, now: world.now) }
        try instance.complete(call, .completed, now: world.now)
        #expect(throws: PlatformError.unknownCall(call)) { try instance.complete(call, .refused, now: world.now) }
        #expect(instance.state == .active && instance.counters.lateCompletions == 1)
    }

    @Test func obligation24ACompletionAfterTheEndDoesNoHarm() throws {
        let provider = world.provider()
        provider.onActive = { _ in .pending }
        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [], now: world.now)
        instance.fail(SessionFault(.otherCommunicationError, "reset"), now: world.now)
        #expect(throws: PlatformError.self) { try instance.complete(provider.pended[0], .completed, now: world.now) }
        #expect(instance.state == .terminated)
        #expect(world.platform.nextDeadline == nil)
    }

    @Test func obligation24AnotherInstanceCantCompleteIt() throws {
        let (mine, theirs) = (world.provider("mine"), world.provider("theirs"))
        mine.onActive = { _ in .pending }
        let instance = try world.instance(mine, in: .registered)
        try instance.begin(transportIDs: [], now: world.now)
        let other = try world.instance(theirs)
        #expect(throws: PlatformError.self) { try other.complete(mine.pended[0], .completed, now: world.now) }
        #expect(instance.pendedCalls == 1)
    }

    @Test func obligation26EstablishAndTerminateOnceInOrder() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        #expect(throws: PlatformError.self) { try instance.begin(transportIDs: [], now: world.now) }
        instance.fail(SessionFault(.providerTimeout, "one"), now: world.now)
        instance.fail(SessionFault(.providerTimeout, "two"), now: world.now)
        world.platform.shutdown(now: world.now)
        try instance.deregister(now: world.now)
        let marks = world.log.lines.filter { $0.hasSuffix("establish") || $0.contains("terminate") }
        #expect(marks == ["p: establish", "p: terminate provider timeout"])
    }

    @Test func obligation26NoCallbackAfterDeregister() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let application = world.application()
        let endpoint = try world.open(application)
        provider.onSend = { _, _ in .pending }
        endpoint.send(world.bytes([1]))
        try instance.deregister(now: world.now)
        world.log.lines = []
        endpoint.send(world.bytes([1]))
        endpoint.finishSending()
        endpoint.consumed(1)
        endpoint.reset(.reset)
        #expect(throws: PlatformError.self) { try world.open(application, over: instance) }
        world.advance(1_000)
        world.platform.shutdown(now: world.now)
        #expect(world.log.lines == [])
    }

    /// Deregistering from within each callback: nothing of the provider is called afterwards.
    @Test(arguments: ["establish", "add", "active", "reach", "open", "send", "finish", "reset", "opened", "ended"])
    func obligation26DeregistersFromWithinEveryCallback(_ place: String) throws {
        let (provider, application) = (world.provider(), world.application())
        var callbacksAfter: [String]?
        let deregister = {
            guard callbacksAfter == nil, let instance = provider.instance else { return }
            #expect(throws: Never.self) { try instance.deregister(now: self.world.now) }
            self.world.log.lines = []
            callbacksAfter = []
        }
        if place == "establish" { provider.onEstablish = deregister }
        if place == "add" { provider.onAdd = { _, _ in (deregister(), .completed).1 } }
        if place == "active" { provider.onActive = { _ in (deregister(), .pending).1 } }
        if place == "reach" { provider.onReach = { _, _ in (deregister(), .completed).1 } }
        if place == "open" { provider.onOpen = { _ in deregister() } }
        if place == "send" { provider.onSend = { _, _ in (deregister(), .pending).1 } }
        if place == "finish" { provider.onFinish = { _ in deregister() } }
        if place == "reset" { provider.onReset = { _ in deregister() } }
        if place == "opened" { application.onOpened = { _ in deregister() } }
        if place == "ended" { application.onEnded = { _ in deregister() } }

        let instance = try world.instance(provider, in: .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        if let endpoint = try? world.open(application) {
            endpoint.indicateOpened()
            endpoint.send(world.bytes([1]))
            endpoint.finishSending()
            endpoint.reset(.reset)
        }
        #expect(callbacksAfter != nil, "the place was reached")
        #expect(world.log.lines.filter { $0.hasPrefix("p:") } == [])
        #expect(instance.state == .deregistered)
        #expect(provider.terminations.map(\.reason) == [.providerRequest])
        #expect(application.ends.count <= 1)
        try instance.destroy()
    }

    @Test func obligation27DeregistersAndDestroysInTheTerminateIndication() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let application = world.application()
        _ = try world.open(application)
        provider.onTerminate = {
            #expect(throws: Never.self) {
                try provider.instance?.deregister(now: .at(1))
                try provider.instance?.destroy()
            }
        }
        instance.fail(SessionFault(.otherCommunicationError, "reset by peer"), now: .at(1))
        #expect(instance.state == .destroyed)
        #expect(world.platform.instances.isEmpty)
        #expect(provider.terminations.count == 1 && application.ends.count == 1)
        #expect(world.platform.terminations(of: "p").count == 1)
    }

    @Test func obligation28AmbiguousIsNotReachable() throws {
        // A provider with two peers that hold the ID refuses; the one with exactly one is used.
        let (two, one) = (world.provider("two"), world.provider("one"))
        two.onReach = { _, _ in .refused }
        _ = try world.instance(two)
        _ = try world.instance(one)
        #expect(try world.open(world.application()).instance?.name == "one")
    }

    @Test func obligation29BuffersGoBackWhenTheProviderIsDone() throws {
        let provider = world.provider()
        _ = try world.instance(provider)
        let endpoint = try world.open(world.application())
        endpoint.indicateOpened()
        endpoint.send(world.bytes([1, 2]))
        endpoint.indicateReceived(world.bytes([3]))
        #expect(world.pool.leased == 0)
        endpoint.reset(.noError)
        endpoint.send(world.bytes([4]))
        endpoint.indicateReceived(world.bytes([5]))
        #expect(world.pool.leased == 0)
        #expect(provider.sent == [[1, 2]])
    }

    @Test func obligation32RubbishCostsOnlyItsOwnSession() throws {
        let (bad, good) = (world.provider("bad"), world.provider("good"))
        let sick = try world.instance(bad)
        let healthy = try world.instance(good)
        let (first, second) = (world.application("first"), world.application("second"))
        let victim = try world.open(first, over: sick)
        let other = try world.open(second, over: healthy)
        victim.indicateOpened()
        other.indicateOpened()
        victim.indicateReceivedEnd()
        victim.indicateReceived(world.bytes([1]))
        #expect(bad.terminations.map(\.reason) == [.providerOtherFailure])
        #expect(first.ends == [.sessionTerminated(.providerOtherFailure)])
        #expect(healthy.state == .active && second.ends == [])
        other.indicateReceived(world.bytes([2]))
        #expect(second.received == [[2]])
    }
}
