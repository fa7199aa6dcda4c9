// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What RFC 8305 ("Happy Eyeballs") says of a name with many addresses.
public enum HappyEyeballs {
    /// How long an address is tried alone, before the next one is tried beside it (RFC 8305, 5: Connection Attempt Delay).
    public static let delay: Duration = .milliseconds(250)

    /// The addresses with those of the other family put between them, beginning with the first one's, so that a family that
    /// leads nowhere costs one delay. Within a family the resolver's order stays (RFC 8305, 4; First Address Family Count: 1).
    public static func interleaved(_ addresses: [TransportAddress]) -> [TransportAddress] {
        guard let first = addresses.first?.ip.canonical.family else { return [] }
        let here = addresses.filter { $0.ip.canonical.family == first }
        let there = addresses.filter { $0.ip.canonical.family != first }
        let pairs = zip(here, there).flatMap { [$0, $1] }
        let both = min(here.count, there.count)
        return pairs + here.dropFirst(both) + there.dropFirst(both)
    }
}
