// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// How an endpoint ended.
public enum EndpointEnd: Hashable, Sendable {
    /// Both directions were finished in order. What was received is still to be handed on; nothing more comes.
    case finished
    /// One side broke it off, the code says why.
    case reset(EndpointResetCode)
    /// The session under it ended.
    case sessionTerminated(SessionTerminationReason)
}

/// The application's side of an endpoint. Every call comes on the platform's loop.
public protocol EndpointApplication: AnyObject {
    /// The far side took the endpoint that this application opened. May come before
    /// ``Platform/openEndpoint(kind:from:to:destination:source:over:application:now:)`` returns.
    func endpointOpened(_ endpoint: Endpoint)

    /// The next bytes of a stream, a datagram, or a packet. The slice is the application's; the sender's credit rises
    /// when the application calls ``Endpoint/consumed(_:)``.
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice)

    /// The far side sends no more; sending goes on.
    func endpointReceivedEnd(_ endpoint: Endpoint)

    /// ``Endpoint/sendRoom`` has risen from 0.
    func endpointSendRoom(_ endpoint: Endpoint)

    /// The last call, exactly once an endpoint, however it ended: also after the application's own
    /// ``Endpoint/reset(_:)``, then from within it. Nothing may be sent from here on.
    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd)
}

extension EndpointApplication {
    public func endpointOpened(_ endpoint: Endpoint) {}
    public func endpointSendRoom(_ endpoint: Endpoint) {}
}

/// Takes the endpoints that providers bring in from their far sides.
public protocol EndpointAcceptor: AnyObject {
    /// Whether the endpoint is taken: nil, with ``Endpoint/application`` set; otherwise the reason for the far side.
    /// Nothing can be sent on it before this returns.
    func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode?
}

/// Takes the packets that a provider indicates for an adapter.
public protocol PacketReceiver: AnyObject {
    /// `packet` is the platform's for the time of the call only (obligations 29, 30).
    func platform(
        _ platform: Platform, received packet: RawSpan, over instance: ProviderInstance, from remote: TransportID,
        to local: TransportID)
}
