// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
public import Primitives

/// What visitors of an exposed port reach: a host and port seen from the agent, and how to speak to it.
public struct ServiceDescription: Hashable, Sendable {
    public var target: HostAndPort
    /// Whether a PROXY protocol v2 header tells the service who the visitor is.
    public var sendsProxyHeader: Bool
    /// For logs.
    public var name: String

    public init(target: HostAndPort, sendsProxyHeader: Bool = false, name: String = "") {
        self.target = target
        self.sendsProxyHeader = sendsProxyHeader
        self.name = name
    }
}

/// A service with the addresses that its name stands for, looked up when they are needed and kept for a short while.
final class Service {
    let description: ServiceDescription
    private let loop: EventLoop
    private var addresses: [TransportAddress]
    private var isLiteral: Bool
    private var resolvedAt: Instant?
    private var waiting: [Completion] = []
    private let lookup: Lookup?

    typealias Completion = (Result<[TransportAddress], UVError>) -> Void
    /// Asks for a name's addresses.
    typealias Lookup = (HostAndPort, @escaping Completion) -> Void

    /// How long an answer is used before the name is looked up again.
    private static let keeps: Duration = .seconds(10)

    /// - Parameters:
    ///   - addresses: those that the name stands for, where they need not be looked up.
    ///   - lookup: looks them up; the system's resolver where nothing is said.
    init(
        _ description: ServiceDescription, loop: EventLoop, addresses: [TransportAddress] = [], lookup: Lookup? = nil
    ) {
        self.description = description
        self.lookup = lookup
        self.loop = loop
        self.addresses = description.target.address.map { [$0] } ?? addresses
        isLiteral = !self.addresses.isEmpty
    }

    /// The addresses, where they are known now.
    var known: [TransportAddress]? {
        if isLiteral { return addresses }
        guard let resolvedAt, loop.now - resolvedAt < Self.keeps else { return nil }
        return addresses
    }

    /// Finds the addresses out.
    func resolve(_ completion: @escaping Completion) {
        waiting.append(completion)
        guard waiting.count == 1 else { return }
        if let lookup { return lookup(description.target) { [self] in resolved($0) } }
        Resolver.resolve(loop: loop, description.target) { [self] in resolved($0) }
    }

    private func resolved(_ result: Result<[TransportAddress], UVError>) {
        if case .success(let found) = result {
            addresses = found
            resolvedAt = loop.now
        }
        let completions = waiting
        waiting = []
        for completion in completions { completion(result) }
    }
}
