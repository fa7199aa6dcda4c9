// SPDX-License-Identifier: Apache-2.0

public import Identity
public import Primitives
public import Tunneling

/// How two nodes that have a tunnel through a relay get a connection there that is theirs alone (tunnel protocol, "Joined
/// connections").
public struct JoinedPath: Sendable {
    /// Where the relay is, and the key that it must have.
    public var addresses: [HostAndPort]
    public var relay: NodeID
    /// The other node, as it has proven itself in the tunnel in which the two agreed to meet.
    public var node: NodeID
    public var meet: Meet
    /// The cipher suite of that tunnel, which is this one's too.
    public var suite: String

    public init(addresses: [HostAndPort], relay: NodeID, node: NodeID, meet: Meet, suite: String) {
        self.addresses = addresses
        self.relay = relay
        self.node = node
        self.meet = meet
        self.suite = suite
    }
}
