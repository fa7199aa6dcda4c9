// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Deadlines and bounds of a platform.
public struct PlatformConfiguration: Sendable {
    public var deadlines = Deadlines()
    public var limits = Limits()
    /// How long a provider's word that it reaches a transport ID is believed.
    public var reachableFor: Duration = .seconds(60)
    /// How long its word that it does not is believed.
    public var unreachableFor: Duration = .seconds(2)
    /// Where the platform takes another transport ID from when a provider refused one as a duplicate.
    public var transportIDPrefix = TransportIDPrefix.uniqueLocal

    public init() {}

    /// How long a provider may leave a call pended before the session ends with `.providerTimeout` (obligation 25).
    public struct Deadlines: Sendable {
        public var addTransportID: Duration = .seconds(30)
        public var removeTransportID: Duration = .seconds(10)
        public var reachTransportID: Duration = .seconds(10)
        public var transitionActive: Duration = .seconds(30)
        public var transitionInactive: Duration = .seconds(10)
        public var sendBuffers: Duration = .seconds(30)
        /// How long an endpoint may be opening; past it only the endpoint ends (`.timedOut`).
        public var openEndpoint: Duration = .seconds(30)

        public init() {}
    }

    public struct Limits: Sendable {
        public var instances = 4_096
        public var endpointsPerInstance = 100_000
        public var transportIDsPerInstance = 64
        public var pendedCallsPerInstance = 4_096
        /// How many transport IDs are tried in the place of one that a provider refuses.
        public var transportIDTries = 8
        /// Verdicts of one instance about what it reaches.
        public var reachVerdictsPerInstance = 4_096
        /// Endpoints that wait for such a verdict.
        public var endpointsWaiting = 10_000
        /// Interfaces known, in use or not.
        public var interfaces = 8_192
        /// Instance names in the history of terminations, and records a name.
        public var historyNames = 1_024
        public var historyRecordsPerName = 16

        public init() {}
    }
}
