// SPDX-License-Identifier: Apache-2.0

import Primitives
import TestSupport
import Testing

@testable import ConnectivityPlatform

@Suite struct InstanceListTests {
    /// The same as a plain sorted array, whatever comes and goes in whatever order.
    @Test(arguments: UInt64(1)...20) func isTheOrderOfASortedArray(seed: UInt64) throws {
        var random = SeededRandom(seed)
        let platform = Platform(random: SeededRandom(1))
        var list = InstanceList()
        var model: [ProviderInstance] = []
        for _ in 0..<500 {
            if model.isEmpty || Int.random(in: 0..<5, using: &random) < (seed % 2 == 0 ? 3 : 2) {
                let instance = ProviderInstance(
                    provider: SilentProvider(), name: "x", preference: Int.random(in: 0..<3, using: &random),
                    platform: platform)
                list.insert(instance)
                let index = model.lastIndex { $0.preference <= instance.preference }.map { $0 + 1 } ?? 0
                model.insert(instance, at: index)
            } else {
                let gone = model.remove(at: Int.random(in: 0..<model.count, using: &random))
                list.remove(gone)
                list.remove(gone)
            }
            #expect(Array(list).map(ObjectIdentifier.init) == model.map(ObjectIdentifier.init), "seed \(seed)")
            #expect(list.count == model.count)
        }
    }
}

private final class SilentProvider: Provider {
    func establishSessionIndication(_ instance: ProviderInstance) {}
    func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {}
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome { .completed }
    func openEndpoint(_ endpoint: Endpoint) {}
    func finishSending(_ endpoint: Endpoint) {}
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {}
    func endpoint(_ endpoint: Endpoint, consumed count: Int) {}
}
