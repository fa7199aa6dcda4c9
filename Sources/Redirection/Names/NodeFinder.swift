// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Finds out who is meant by a node's name.
public protocol NodeFinder: AnyObject {
    /// - Parameter completion: called exactly once, perhaps before this returns: the node's transport ID.
    func find(nodeNamed name: String, _ completion: @escaping (Result<IPAddress, RouteFailure>) -> Void)

    /// How a node is called. A finder that only knows the other way says that nobody knows.
    /// - Parameters:
    ///   - id: the node's transport ID.
    ///   - completion: called exactly once, perhaps before this returns: the name, without the suffix.
    func find(nameOf id: IPAddress, _ completion: @escaping (Result<String, RouteFailure>) -> Void)
}

extension NodeFinder {
    public func find(nameOf id: IPAddress, _ completion: @escaping (Result<String, RouteFailure>) -> Void) {
        completion(.failure(RouteFailure(.unreachable, "nobody knows who \(id) is")))
    }
}

extension RouteFailure {
    /// Nobody can be asked about nodes now.
    public static let noRelay = RouteFailure(.unreachable, "there is no session with the relay now")

    /// Whether this says nothing about the node: asked again, there may be an answer.
    var isTemporary: Bool { self == .noRelay || code == .timedOut || code == .limit }
}
