// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Primitives
internal import Redirection

/// Waits for the relay's word on an endpoint to another host, so that a refusal can be told in its own words. Then the
/// endpoint is the application's.
final class OutsideOpening: EndpointApplication {
    private let application: any EndpointApplication
    private var completion: ((Result<Endpoint, RouteFailure>) -> Void)?

    init(
        _ application: any EndpointApplication,
        _ completion: @escaping (Result<Endpoint, RouteFailure>) -> Void
    ) {
        self.application = application
        self.completion = completion
    }

    func endpointOpened(_ endpoint: Endpoint) {
        endpoint.application = application
        complete(.success(endpoint))
        // Who was told of the endpoint may have put another application in its place.
        endpoint.application?.endpointOpened(endpoint)
    }

    func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        switch end {
        case .reset(let code): fail(code, Self.text(code))
        case .sessionTerminated: fail(.sessionEnded, "the session with the relay has ended")
        case .finished: fail(.unreachable, "it ended before it had begun")
        }
    }

    /// Nothing comes before it is open, and then it is another's.
    func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {}
    func endpointReceivedEnd(_ endpoint: Endpoint) {}

    /// Tells that there is no way; a second time nothing is told.
    func fail(_ code: EndpointResetCode, _ why: String) {
        complete(.failure(RouteFailure(code, why)))
    }

    private func complete(_ result: Result<Endpoint, RouteFailure>) {
        let completion = self.completion
        self.completion = nil
        completion?(result)
    }

    private static func text(_ code: EndpointResetCode) -> String {
        switch code {
        case .notAllowed:
            "the relay does not let this node out there: ask its operator for egress, if it is not a host that the relay "
                + "lets nobody reach"
        case .limit: "the relay has too much under way for this node"
        case .timedOut: "the host does not answer the relay"
        case .refused: "the host refuses the relay's connection"
        case .unreachable: "the relay can't reach the host, or does not find its name"
        default: "the relay says: \(code)"
        }
    }
}
