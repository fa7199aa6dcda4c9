// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import TestSupport

/// What joins two platforms on one loop, as a tunnel would: in order, with credit, and never from within a call.
final class Wire: TurnEndTask {
    private let loop: EventLoop
    private var events: [() -> Void] = []
    private var isScheduled = false
    /// Bytes that one side may send before the other has taken them.
    let window: Int

    init(_ loop: EventLoop, window: Int) {
        self.loop = loop
        self.window = window
    }

    func carry(_ event: @escaping () -> Void) {
        events.append(event)
        guard !isScheduled else { return }
        isScheduled = true
        loop.atTurnEnd(self)
    }

    func turnEnded() {
        isScheduled = false
        let now = events
        events = []
        for event in now { event() }
    }
}

/// One end of a wire as a provider.
final class WireProvider: Provider {
    let local: TransportID
    let remote: TransportID
    weak var peer: WireProvider?
    weak var instance: ProviderInstance?
    private let wire: Wire

    init(_ wire: Wire, local: TransportID, remote: TransportID) {
        self.wire = wire
        self.local = local
        self.remote = remote
    }

    /// One end of a stream or flow.
    private final class Half {
        weak var endpoint: Endpoint?
        /// Kept by its own endpoint.
        weak var far: Half?
        var credit: Int
        init(_ endpoint: Endpoint?, credit: Int) {
            self.endpoint = endpoint
            self.credit = credit
        }
    }

    func establishSessionIndication(_ instance: ProviderInstance) { self.instance = instance }
    func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String
    ) {}
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { id == remote ? .completed : .refused }
    func transitionActive(call: PendedCall) -> CallOutcome { .completed }

    func openEndpoint(_ endpoint: Endpoint) {
        let near = Half(endpoint, credit: wire.window)
        let far = Half(nil, credit: wire.window)
        (near.far, far.far) = (far, near)
        endpoint.providerContext = near
        endpoint.indicateSendRoom(near.credit)
        let (kind, destination, source) = (endpoint.kind, endpoint.destination, endpoint.source)
        wire.carry { [self] in
            do throws(EndpointResetCode) {
                guard let peer, let instance = peer.instance else { throw .sessionEnded }
                let accepted = try instance.indicateEndpoint(
                    kind: kind, local: peer.local, remote: peer.remote, destination: destination, source: source,
                    providerContext: far)
                far.endpoint = accepted
                accepted.indicateSendRoom(far.credit)
                wire.carry { near.endpoint?.indicateOpened() }
            } catch {
                wire.carry { near.endpoint?.indicateReset(error) }
            }
        }
    }

    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint, call: PendedCall
    ) -> CallOutcome {
        guard let half = endpoint.providerContext as? Half else { return .completed }
        let copy = bytes.bytes.withUnsafeBytes { Array($0) }
        let pool = BufferPool(capacity: max(1, copy.count), keepsAtMost: 0)
        half.credit -= copy.count
        if endpoint.kind == .stream { endpoint.indicateSendRoom(half.credit) }
        wire.carry { half.far?.endpoint?.indicateReceived(pool.lease(copying: copy.span.bytes)) }
        return .completed
    }

    func finishSending(_ endpoint: Endpoint) {
        guard let half = endpoint.providerContext as? Half else { return }
        wire.carry { half.far?.endpoint?.indicateReceivedEnd() }
    }

    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode) {
        guard let half = endpoint.providerContext as? Half else { return }
        wire.carry { half.far?.endpoint?.indicateReset(code) }
    }

    func endpoint(_ endpoint: Endpoint, consumed count: Int) {
        guard let far = (endpoint.providerContext as? Half)?.far else { return }
        wire.carry {
            far.credit += count
            far.endpoint?.indicateSendRoom(far.credit)
        }
    }
}
