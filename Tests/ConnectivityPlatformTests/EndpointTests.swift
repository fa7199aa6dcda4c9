// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

@Suite(.staged) struct EndpointTests {
    let world = World()

    private func opened(
        _ provider: ScriptedProvider, _ application: ScriptedApplication, kind: Endpoint.Kind = .stream
    ) throws -> Endpoint {
        _ = try world.instance(provider)
        let endpoint = try world.open(application, kind: kind)
        endpoint.indicateOpened()
        world.log.lines = []
        return endpoint
    }

    @Test func aStreamFromOpenToFinished() throws {
        let (provider, application) = (world.provider(), world.application())
        let instance = try world.instance(provider)
        provider.onOpen = { $0.providerContext = provider }
        let endpoint = try world.open(application)
        #expect(endpoint.providerContext === provider)
        #expect(!endpoint.isOpen && endpoint.sendRoom == 0)
        endpoint.indicateSendRoom(10)
        endpoint.send(world.bytes([1, 2, 3]))
        endpoint.indicateOpened()
        endpoint.indicateOpened()
        #expect(endpoint.isOpen && endpoint.sendRoom == 7)
        endpoint.indicateReceived(world.bytes([4, 5]))
        endpoint.consumed(2)
        endpoint.finishSending()
        endpoint.finishSending()
        endpoint.send(world.bytes([9]))
        endpoint.indicateReceived(world.bytes([6]))
        #expect(application.ends == [])
        endpoint.indicateReceivedEnd()
        endpoint.indicateReceivedEnd()
        #expect(
            world.log.lines.dropFirst(3) == [
                "p: reach \(TransportID.there)", "p: open", "a: room 10",
                "p: send 3 \(TransportID.here) \(TransportID.there)", "a: opened", "a: received 2", "p: consumed 2",
                "p: finish", "a: received 1", "a: received end", "a: ended finished",
            ])
        #expect(endpoint.hasEnded && endpoint.application == nil && endpoint.providerContext == nil)
        #expect(endpoint.instance == nil && instance.endpoints.isEmpty)
        #expect(endpoint.bytesSent == 3 && endpoint.bytesReceived == 3)
        #expect(instance.counters.bytesSent == 3 && instance.counters.bytesReceived == 3)
        #expect(world.platform.nextDeadline == nil && world.pool.leased == 0)
    }

    @Test func theFarSideFinishesFirst() throws {
        let (provider, application) = (world.provider(), world.application())
        let endpoint = try opened(provider, application)
        endpoint.indicateReceivedEnd()
        endpoint.send(world.bytes([1]))
        endpoint.finishSending()
        #expect(
            world.log.lines == [
                "a: received end", "p: send 1 \(TransportID.here) \(TransportID.there)", "p: finish",
                "a: ended finished",
            ])
    }

    @Test func theApplicationResets() throws {
        let (provider, application) = (world.provider(), world.application())
        let endpoint = try opened(provider, application)
        endpoint.reset(.reset)
        endpoint.reset(.refused)
        endpoint.indicateReset(.noError)
        #expect(world.log.lines == ["a: ended reset(connection reset)", "p: reset connection reset"])
    }

    @Test func theFarSideResets() throws {
        let (provider, application) = (world.provider(), world.application())
        let endpoint = try opened(provider, application)
        endpoint.indicateReset(.refused)
        endpoint.indicateReset(.reset)
        endpoint.reset(.reset)
        #expect(world.log.lines == ["a: ended reset(connection refused)"])
    }

    @Test func resettingWithinEveryCallbackEndsItOnce() throws {
        for place in ["opened", "received", "received end", "send"] {
            let world = World()
            let (provider, application) = (world.provider(), world.application())
            _ = try world.instance(provider)
            let endpoint = try world.open(application)
            if place == "opened" { application.onOpened = { $0.reset(.noError) } }
            if place == "received" { application.onReceived = { $0.reset(.noError) } }
            if place == "received end" { application.onReceivedEnd = { $0.reset(.noError) } }
            if place == "send" {
                provider.onSend = { endpoint, _ in
                    endpoint.indicateReset(.reset)
                    return .completed
                }
            }
            endpoint.indicateOpened()
            endpoint.indicateReceived(world.bytes([1]))
            endpoint.send(world.bytes([1]))
            endpoint.indicateReceivedEnd()
            endpoint.finishSending()
            #expect(application.ends.count == 1, "\(place)")
            #expect(endpoint.hasEnded && world.pool.leased == 0)
        }
    }

    @Test func bytesBeforeTheAnswerAreAnAnswer() throws {
        let (provider, application) = (world.provider(), world.application())
        _ = try world.instance(provider)
        let endpoint = try world.open(application)
        world.log.lines = []
        endpoint.indicateReceived(world.bytes([1]))
        #expect(world.log.lines == ["a: opened", "a: received 1"])
    }

    @Test func theAnswerMayComeFromWithinTheQuestion() throws {
        let (provider, application) = (world.provider(), world.application())
        _ = try world.instance(provider)
        provider.onOpen = { $0.indicateOpened() }
        #expect(try world.open(application).isOpen)
        provider.onOpen = { $0.indicateReset(.refused) }
        #expect(try world.open(application).hasEnded)
        #expect(application.ends == [.reset(.refused)])
    }

    @Test func roomIsToldWhenItComesBack() throws {
        let (provider, application) = (world.provider(), world.application())
        let endpoint = try opened(provider, application)
        endpoint.indicateSendRoom(4)
        endpoint.indicateSendRoom(8)
        endpoint.send(world.bytes([1, 2, 3, 4, 5, 6, 7, 8, 9]))
        #expect(endpoint.sendRoom == 0)
        endpoint.indicateSendRoom(-5)
        #expect(endpoint.sendRoom == 0)
        endpoint.indicateSendRoom(2)
        // What the provider says from within the call holds.
        provider.onSend = { endpoint, _ in
            endpoint.indicateSendRoom(77)
            return .completed
        }
        endpoint.send(world.bytes([1]))
        #expect(endpoint.sendRoom == 77)
        #expect(world.log.lines.filter { $0.hasPrefix("a") } == ["a: room 4", "a: room 2"])
    }

    @Test(arguments: [Endpoint.Kind.datagram, .packet]) func datagramsNeedNoRoomAndHaveNoHalves(_ kind: Endpoint.Kind)
        throws
    {
        let (provider, application) = (world.provider(), world.application())
        let endpoint = try opened(provider, application, kind: kind)
        #expect(endpoint.sendRoom == .max)
        endpoint.send(world.bytes([]))
        endpoint.send(world.bytes([1]))
        #expect(endpoint.sendRoom == .max)
        endpoint.finishSending()
        #expect(world.log.lines.suffix(2) == ["p: finish", "a: ended finished"])

        let flow = try world.open(application, kind: kind)
        flow.indicateReceivedEnd()
        #expect(world.log.lines.suffix(3) == ["a: opened", "a: received end", "a: ended finished"])
    }

    @Test func aFinishedApplicationIsHeardOfOnceTheWayIsKnown() throws {
        let (provider, application) = (world.provider(), world.application())
        provider.onReach = { _, _ in .pending }
        let instance = try world.instance(provider)
        let endpoint = try world.open(application)
        endpoint.finishSending()
        world.log.lines = []
        try instance.complete(provider.pended.removeFirst(), .completed, now: world.now)
        #expect(world.log.lines == ["p: open", "p: finish"])
    }

    // MARK: - From the far side

    @Test func anEndpointComesIn() throws {
        let (provider, application) = (world.provider(), world.application())
        let instance = try world.instance(provider)
        let visitor = try #require(TransportAddress("[fe80::1%3]:4711"))
        let context = Log()
        world.acceptor.accept = { endpoint in
            #expect(endpoint.providerContext === context && endpoint.source == visitor)
            #expect(endpoint.destination == EndpointDestination(port: 22, host: "ssh", exposure: 3))
            endpoint.application = application
            return nil
        }
        let endpoint = try instance.indicateEndpoint(
            kind: .stream, local: .here, remote: .there,
            destination: EndpointDestination(port: 22, host: "ssh", exposure: 3), source: visitor,
            providerContext: context)
        #expect(endpoint.isOpen && instance.endpoints.count == 1 && instance.counters.endpointsAccepted == 1)
        endpoint.indicateReceived(world.bytes([1]))
        endpoint.send(world.bytes([2]))
        #expect(application.received == [[1]] && provider.sent == [[2]])
        // The application was not asked to open it, so that it is not told that it is open.
        #expect(!world.log.lines.contains("a: opened"))
    }

    private func bringIn(_ instance: ProviderInstance, to local: TransportID = .here) throws(EndpointResetCode)
        -> Endpoint
    {
        try instance.indicateEndpoint(
            kind: .stream, local: local, remote: .there, destination: EndpointDestination(port: 1), source: nil,
            providerContext: nil)
    }

    @Test func refusalsHaveACode() throws {
        let world = World { $0.limits.endpointsPerInstance = 1 }
        let instance = try world.instance(world.provider())
        world.acceptor.accept = { _ in .notAllowed }
        #expect(throws: EndpointResetCode.notAllowed) { try bringIn(instance) }
        // Accepted without an application is not accepted.
        world.acceptor.accept = { _ in nil }
        #expect(throws: EndpointResetCode.refused) { try bringIn(instance) }
        #expect(throws: EndpointResetCode.unreachable) { try bringIn(instance, to: .elsewhere) }
        world.acceptor.accept = {
            $0.application = world.application()
            return nil
        }
        _ = try bringIn(instance)
        #expect(throws: EndpointResetCode.limit) { try bringIn(instance) }
        world.platform.acceptor = nil
        instance.endpoints[0].reset(.noError)
        #expect(throws: EndpointResetCode.refused) { try bringIn(instance) }
        #expect(instance.counters.endpointsRefused == 5 && instance.endpoints.isEmpty)
    }

    /// What an acceptor may do wrong or change its mind about.
    @Test(arguments: ["reset", "send", "finish", "end the session"]) func acceptorsMayMisbehave(_ deed: String) throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let application = world.application()
        world.acceptor.accept = { endpoint in
            endpoint.application = application
            switch deed {
            case "reset": endpoint.reset(.notAllowed)
            case "send": endpoint.send(self.world.bytes([1]))
            case "finish": endpoint.finishSending()
            default: instance.fail(SessionFault(.otherCommunicationError, "gone"), now: self.world.now)
            }
            return nil
        }
        world.log.lines = []
        #expect(throws: deed == "end the session" ? EndpointResetCode.sessionEnded : .reset) { try bringIn(instance) }
        #expect(application.ends.count == 1 && instance.endpoints.isEmpty)
        #expect(world.log.lines.allSatisfy { !$0.hasPrefix("p: ") || $0.hasPrefix("p: terminate") })
        #expect(world.pool.leased == 0)
    }

    // MARK: - The session's end

    @Test func allEndpointsAreToldBeforeTheProvider() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        var applications: [ScriptedApplication] = []
        var endpoints: [Endpoint] = []
        for index in 0..<4 {
            applications.append(world.application("\(index)"))
            endpoints.append(try world.open(applications[index]))
        }
        for endpoint in endpoints.prefix(2) { endpoint.indicateOpened() }
        // An application that hears of its end must not reach the provider through another one's endpoint.
        for application in applications {
            application.onEnded = { _ in
                for endpoint in endpoints {
                    endpoint.send(self.world.bytes([1]))
                    endpoint.consumed(1)
                    endpoint.finishSending()
                    endpoint.reset(.reset)
                    endpoint.indicateReset(.reset)
                    endpoint.indicateReceived(self.world.bytes([1]))
                    endpoint.indicateReceivedEnd()
                }
            }
        }
        world.log.lines = []
        instance.fail(SessionFault(.otherCommunicationError, "reset by peer"), now: world.now)
        #expect(applications.allSatisfy { $0.ends == [.sessionTerminated(.otherCommunicationError)] })
        #expect(world.log.lines.filter { $0.hasPrefix("p:") } == ["p: terminate communication error"])
        #expect(world.log.lines.last == "p: terminate communication error")
        #expect(instance.lastTermination?.endpoints == 4 && world.platform.nextDeadline == nil)
    }

    /// From within the end of the first of three endpoints: the other two are told, and the provider too, before
    /// deregister returns (obligations 26, 27).
    @Test func anApplicationDeregistersWhileTheSessionEnds() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let applications = (0..<3).map { world.application("\($0)") }
        for application in applications { _ = try world.open(application) }
        applications[2].onEnded = { _ in
            #expect(throws: Never.self) { try instance.deregister(now: self.world.now) }
            self.world.log.lines.append("deregistered")
        }
        world.log.lines = []
        instance.fail(SessionFault(.providerTimeout, "silence"), now: world.now)
        let end = "ended sessionTerminated(provider timeout)"
        #expect(
            world.log.lines == [
                "2: \(end)", "1: \(end)", "0: \(end)", "p: terminate provider timeout", "deregistered",
            ])
    }

    @Test func aTransportIDTakesItsEndpointsAlong() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        try instance.addTransportID(.elsewhere, now: world.now)
        let (kept, gone) = (world.application("kept"), world.application("gone"))
        _ = try world.open(gone)
        _ = try world.platform.openEndpoint(
            kind: .stream, from: .elsewhere, to: .there, destination: EndpointDestination(port: 1), application: kept,
            now: world.now)
        try instance.removeTransportID(.here, now: world.now)
        #expect(gone.ends == [.reset(.sessionEnded)] && kept.ends == [])
        #expect(world.log.lines.suffix(2) == ["p: reset session ended", "p: remove \(TransportID.here)"])
    }

    @Test func anInactiveSessionHasNoEndpoints() throws {
        let provider = world.provider()
        let instance = try world.instance(provider)
        let application = world.application()
        _ = try world.open(application)
        world.log.lines = []
        try instance.deactivate(now: world.now)
        #expect(world.log.take() == ["a: ended reset(session ended)", "p: reset session ended", "p: inactive"])
        #expect(instance.state == .inSession && instance.activeSince == nil)
        #expect(throws: PlatformError.self) { try world.open(application) }
        try instance.activate(now: world.now)
        #expect(instance.state == .active)
        _ = try world.open(application)
        #expect(world.log.take() == ["p: active", "p: open"])
    }

    @Test func anEndpointIsSmall() {
        #expect(MemoryLayout<TransportID>.size == 17)
        let endpoint = world.platform.makeEndpoint(
            kind: .stream, local: .here, remote: .there, destination: EndpointDestination(port: 1),
            source: TransportAddress(.loopbackV6, port: 1), state: .open)
        let size = usableSize(Unmanaged.passUnretained(endpoint).toOpaque())
        #expect(size < 250, "\(size) bytes")
    }

    @Test func codesHaveNamesAndUnknownOnesSurvive() {
        let codes = (UInt32(0)...9).map(EndpointResetCode.init)
        #expect(Set(codes.map(\.description)).count == codes.count)
        #expect(codes.allSatisfy { !$0.description.hasPrefix("code") })
        #expect(EndpointResetCode(rawValue: 77).description == "code 77")
    }
}

/// The bytes of an allocation, from malloc.h, which no module covers.
@_silgen_name("malloc_usable_size")
private func usableSize(_ allocation: UnsafeMutableRawPointer) -> Int
