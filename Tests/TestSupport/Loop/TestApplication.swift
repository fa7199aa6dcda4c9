// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import Primitives

/// An application at an endpoint that writes down what it is told.
public final class TestApplication: EndpointApplication {
    public private(set) var received: [UInt8] = []
    /// Bytes that came, also where they are not kept, and whether all of them were those of the pattern.
    public private(set) var count = 0
    public private(set) var isIntact = true
    public var pattern: Pattern?
    public private(set) var isOpen = false
    public private(set) var hasReceivedEnd = false
    public private(set) var end: EndpointEnd?
    public private(set) var endpoint: Endpoint?
    /// Whether what came is kept, and whether it counts as taken.
    public var keeps = true
    public var consumes = true
    public var onRoom: (Endpoint) -> Void = { _ in }
    public var onReceived: (Endpoint) -> Void = { _ in }
    public var onEnd: (Endpoint) -> Void = { _ in }

    public init() {}

    public var text: String { String(decoding: received, as: UTF8.self) }

    public func adopt(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        endpoint.application = self
    }

    /// Lets go of what the test's closures hold.
    public func clear() {
        onRoom = { _ in }
        onReceived = { _ in }
        onEnd = { _ in }
    }

    public func endpointOpened(_ endpoint: Endpoint) { isOpen = true }

    public func endpoint(_ endpoint: Endpoint, received bytes: consuming Slice) {
        let count = bytes.count
        if let pattern, !pattern.matches(bytes.bytes, at: self.count) { isIntact = false }
        self.count += count
        if keeps { received.append(copying: bytes.bytes) }
        if consumes { endpoint.consumed(count) }
        onReceived(endpoint)
    }

    public func endpointReceivedEnd(_ endpoint: Endpoint) {
        hasReceivedEnd = true
        onEnd(endpoint)
    }

    public func endpointSendRoom(_ endpoint: Endpoint) { onRoom(endpoint) }

    public func endpointEnded(_ endpoint: Endpoint, _ end: EndpointEnd) {
        self.end = end
        self.endpoint = nil
    }
}

/// Takes every endpoint, with an application of its own.
public final class TestAcceptor: EndpointAcceptor {
    public private(set) var applications: [TestApplication] = []
    public var refusal: EndpointResetCode?
    /// Prepares an application before anything comes.
    public var onAccepted: (TestApplication) -> Void = { _ in }

    public init() {}

    /// Lets go of what the test's closures hold.
    public func clear() {
        onAccepted = { _ in }
        for application in applications { application.clear() }
    }

    public func platform(_ platform: Platform, accepts endpoint: Endpoint) -> EndpointResetCode? {
        if let refusal { return refusal }
        let application = TestApplication()
        applications.append(application)
        application.adopt(endpoint)
        onAccepted(application)
        return nil
    }
}
