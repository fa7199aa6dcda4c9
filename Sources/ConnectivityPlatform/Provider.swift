// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What carries applications' traffic over a transport of its own. The platform calls it; one object an instance.
///
/// Every call comes on the platform's loop. The calls that return a ``CallOutcome`` may be pended: then the provider
/// shows the ``PendedCall`` to ``ProviderInstance/complete(_:_:now:)`` exactly once, even from within the call.
/// No call begins after ``ProviderInstance/deregister(now:)`` returned (obligation 26).
public protocol Provider: AnyObject {
    // MARK: The published callbacks

    /// There is a session. It can't be refused (obligation 7).
    func establishSessionIndication(_ instance: ProviderInstance)

    /// The session has ended; its endpoints were told already. Deregistering and destroying are allowed in here
    /// (obligation 27), and the provider's duty here or later (14).
    func terminateSessionIndication(
        _ instance: ProviderInstance, reason: SessionTerminationReason, message: String)

    /// Associates the ID with the instance; `.refused` where a peer holds it already (obligation 17).
    func addTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome

    /// Takes the association back.
    func removeTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome

    /// Whether exactly one peer holds the ID: `.completed`, or else `.refused` (obligations 18, 28).
    func reachTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome

    /// Endpoints may come and go from here on.
    func transitionActive(call: PendedCall) -> CallOutcome

    /// No endpoint is left, and none comes.
    func transitionInactive(call: PendedCall) -> CallOutcome

    /// The hot path: an endpoint's next bytes in order, its datagram or its packet, as its kind says. `local` is the
    /// source and `remote` the destination (obligation 21). The slice is the provider's; ``Endpoint/send(_:)`` calls
    /// this once a buffer.
    func sendBuffers(
        _ bytes: consuming Slice, from local: TransportID, to remote: TransportID, endpoint: Endpoint,
        call: PendedCall
    ) -> CallOutcome

    // MARK: Streams and datagrams, ours

    /// An application opened the endpoint: tell the far side, set ``Endpoint/providerContext``, and answer, now or
    /// later, with ``Endpoint/indicateOpened()`` or ``Endpoint/indicateReset(_:)``.
    func openEndpoint(_ endpoint: Endpoint)

    /// An endpoint that ``ProviderInstance/indicateEndpoint(kind:local:remote:destination:source:providerContext:)``
    /// returned with ``Endpoint/confirmsLater`` set is there now: tell the far side.
    func confirmEndpoint(_ endpoint: Endpoint)

    /// No more bytes come from the application (half-close). For a datagram endpoint: it is over.
    func finishSending(_ endpoint: Endpoint)

    /// The endpoint is gone in both directions; the application was told.
    func resetEndpoint(_ endpoint: Endpoint, code: EndpointResetCode)

    /// The application took `count` of the received bytes: raise the credit.
    func endpoint(_ endpoint: Endpoint, consumed count: Int)
}

extension Provider {
    public func removeTransportID(_ id: TransportID, call: PendedCall) -> CallOutcome { .completed }
    public func transitionInactive(call: PendedCall) -> CallOutcome { .completed }
    public func confirmEndpoint(_ endpoint: Endpoint) {}
}
