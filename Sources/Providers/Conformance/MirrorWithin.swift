// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Primitives

/// What the mirror among the test programs does, within this process.
final class MirrorWithin: Provider {
    weak var instance: ProviderInstance?

    func establishSessionIndication(_ instance: ProviderInstance) {}
    func terminateSessionIndication(_ instance: ProviderInstance, reason: SessionTerminationReason, message: String) {}
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }
    func openEndpoint(_ endpoint: Endpoint) { endpoint.indicateOpened() }
    func finishSending(_ endpoint: Endpoint) {}
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {}
    func endpoint(_ endpoint: Endpoint, consumed count: Int) {}

    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        try? instance?.indicateReceivedBuffers(to: local, from: remote, bytes.bytes)
        return .completed
    }
}
