// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import ConnectivityPlatform

@Suite(.staged) struct LimitTests {
    @Test func instances() throws {
        let world = World { $0.limits.instances = 2 }
        let first = try world.instance(world.provider(), in: .created)
        _ = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.limitReached("instances", 2)) { try world.instance(world.provider()) }
        try first.destroy()
        _ = try world.instance(world.provider())
    }

    @Test func endpoints() throws {
        let world = World { $0.limits.endpointsPerInstance = 2 }
        let instance = try world.instance(world.provider())
        let endpoint = try world.open(world.application())
        _ = try world.open(world.application())
        #expect(throws: PlatformError.limitReached("endpointsPerInstance", 2)) { try world.open(world.application()) }
        endpoint.reset(.noError)
        _ = try world.open(world.application())
        #expect(instance.endpoints.count == 2)
    }

    @Test func transportIDs() throws {
        let world = World { $0.limits.transportIDsPerInstance = 1 }
        let instance = try world.instance(world.provider(), in: .registered)
        let error = PlatformError.limitReached("transportIDsPerInstance", 1)
        #expect(throws: error) { try instance.begin(transportIDs: [.here, .there], now: world.now) }
        #expect(instance.state == .registered)
        try instance.begin(transportIDs: [.here], now: world.now)
        #expect(throws: error) { try instance.addTransportID(.there, now: world.now) }
    }

    @Test func pendedCalls() throws {
        let world = World { $0.limits.pendedCallsPerInstance = 3 }
        let provider = world.provider()
        _ = try world.instance(provider)
        let endpoint = try world.open(world.application())
        endpoint.indicateOpened()
        provider.onSend = { _, _ in .pending }
        for _ in 0..<3 { endpoint.send(world.bytes([1])) }
        #expect(provider.terminations.isEmpty)
        endpoint.send(world.bytes([1]))
        #expect(provider.terminations.map(\.reason) == [.providerOtherFailure])
    }

    @Test func interfaces() throws {
        let world = World { $0.limits.interfaces = 2 }
        let first = try world.instance(world.provider(), in: .registered)
        _ = try world.instance(world.provider(), in: .registered)
        let third = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.limitReached("interfaces", 2)) { try third.register(now: world.now) }
        let forgotten = try #require(first.interfaceLUID)
        try first.deregister(now: world.now)
        try third.register(now: world.now)
        #expect(third.friendlyName == first.friendlyName, "the name is free with the interface")
        try third.deregister(now: world.now)
        let fourth = try world.instance(world.provider(), in: .created)
        #expect(throws: PlatformError.unknownInterface(forgotten)) {
            try fourth.register(interfaceLUID: forgotten, now: world.now)
        }
    }

    @Test func history() throws {
        let world = World {
            $0.limits.historyNames = 2
            $0.limits.historyRecordsPerName = 3
        }
        func end(_ name: String, _ message: String) throws {
            let instance = try world.instance(world.provider(name))
            instance.fail(SessionFault(.providerTimeout, message), now: world.now)
        }
        for index in 0..<5 { try end("a", "\(index)") }
        try end("b", "")
        #expect(world.platform.terminations(of: "a").map(\.message) == ["2", "3", "4"])
        try end("a", "5")
        try end("c", "")
        #expect(world.platform.terminations(of: "b").isEmpty, "longest not heard of")
        #expect(world.platform.terminations(of: "a").count == 3 && world.platform.terminations(of: "c").count == 1)
    }
}
