// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// The addresses at which this host itself answers, read from the kernel when they are needed and kept for a moment.
final class OwnAddresses {
    /// Those that no interface tells of: in front of a host behind a NAT.
    var others: Set<IPAddress> = [] {
        didSet { readAt = nil }
    }
    private let loop: EventLoop
    private var addresses: Set<IPAddress>?
    private var readAt: Instant?

    private static let keeps: Duration = .seconds(3)

    init(loop: EventLoop) { self.loop = loop }

    /// Nil where the kernel has never told them.
    var current: Set<IPAddress>? {
        if let readAt, loop.now - readAt < Self.keeps { return addresses }
        if let found = try? HostAddresses.current() {
            addresses = found.union(others)
            readAt = loop.now
        }
        return addresses
    }
}
