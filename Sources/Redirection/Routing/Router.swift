// SPDX-License-Identifier: Apache-2.0

public import ConnectivityPlatform
public import Primitives

/// Why an application can't be brought to where it wants to go.
public struct RouteFailure: Error, Equatable, CustomStringConvertible {
    /// What the application's socket, or its proxy's reply, makes of it.
    public var code: EndpointResetCode
    /// What is wrong and what would be right, for a person.
    public var message: String

    public init(_ code: EndpointResetCode, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

/// Brings applications to where they want to go: to another node by its name or transport ID, or out through the relay.
/// Confined to its loop.
public protocol Router: AnyObject {
    /// Opens an endpoint to `destination`. Sessions that it needs are made on the way, so that it may take seconds.
    ///
    /// The application is told of the endpoint's fate as ``Platform/openEndpoint(kind:from:to:destination:source:over:application:now:)``
    /// has it: ``EndpointApplication/endpointOpened(_:)`` once the far side has connected to what was asked for.
    /// - Parameters:
    ///   - destination: a node (`home`, `home.natfwt.internal`, a transport ID, a key's fingerprint) and its port; any other
    ///     address, or name with a dot in it, is reached through the relay, where it lets this node out.
    ///   - source: the application's own address, for the far side's log.
    ///   - completion: called exactly once, perhaps before this returns: the endpoint, or why there is none. After a
    ///     failure the application is not called.
    func open(
        _ kind: Endpoint.Kind, to destination: HostAndPort, source: TransportAddress?,
        application: any EndpointApplication, completion: @escaping (Result<Endpoint, RouteFailure>) -> Void)
}
