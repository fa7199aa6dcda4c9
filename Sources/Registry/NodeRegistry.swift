// SPDX-License-Identifier: Apache-2.0

public import Identity

/// Which nodes a relay knows, what they may do, and who was invited. Times are seconds of Unix time, given by the caller.
///
/// An object belongs to one thread (or loop) at a time; several of them, in one process or in many, may look after the
/// same registry. A call may wait for the disk: a node's login reads only, all else writes.
public protocol NodeRegistry: AnyObject {
    /// Decides about a node that logs in with this key, and with the invite that it shows, if any.
    ///
    /// A node that is known is admitted, whatever invite it shows: its configuration may keep the line that it was made
    /// with. An unknown one is registered where the invite is good; that uses the invite up, in one step with the
    /// registration, so that of any number of nodes that show one invite at once exactly one is admitted.
    ///
    /// Invites are judged by the relay's clock only, with ten minutes' grace after their end. A clock that is before the
    /// day on which an invite was made is wrong for certain, and then no invite counts as expired.
    func admit(_ node: NodeID, invite: InviteToken?, now: Int64) throws(RegistryError) -> Admission

    /// The node of a key; nil where it is not registered (any more).
    func node(_ node: NodeID) throws(RegistryError) -> NodeRecord?

    /// Every registered node, by name.
    func nodes() throws(RegistryError) -> [NodeRecord]

    /// Notes that the node is there; at most once a minute is anything written. A failure is not reported: the registry
    /// that can't be written to must not end a session that works.
    func noteSeen(_ node: NodeID, now: Int64)

    /// Keeps an invite; who shows `token` first becomes the node `name`. An older invite under that name that nobody has
    /// used is replaced by this one; returns whether there was one. A node's name that is taken is an error.
    @discardableResult
    func createInvite(
        _ token: InviteToken, name: NodeName, permissions: Permissions, expiresAt: Int64?, now: Int64
    ) throws(RegistryError) -> Bool

    /// Every invite, used or not, oldest first.
    func invites() throws(RegistryError) -> [InviteRecord]

    /// Takes a node out, and all that it had reserved; its key is refused as revoked from now on, unless it shows an
    /// invite that is made later. Where no node has the name, an unused invite under it is withdrawn. An error where there
    /// is neither.
    @discardableResult
    func remove(_ name: NodeName, now: Int64) throws(RegistryError) -> Removal

    /// Changes what a node may do, or what an unused invite will allow where no node has the name; returns what is allowed
    /// from now on. An error where there is neither.
    @discardableResult
    func changePermissions(
        of name: NodeName, _ change: (inout Permissions) -> Void
    ) throws(RegistryError) -> Permissions

    /// Keeps a port for a node over restarts, or keeps it on. `label` is what the node calls the exposed service, so that
    /// it gets the same port again when it asks for any. The node has to be registered.
    func reserve(
        _ protocol: PortProtocol, port: UInt16, for node: NodeID, label: String, now: Int64
    ) throws(RegistryError) -> ReservationResult

    /// Gives a port up; only the node that has it can.
    func release(_ protocol: PortProtocol, port: UInt16, by node: NodeID) throws(RegistryError)

    /// The ports that are kept for a node, the one used last first.
    func reservations(of node: NodeID) throws(RegistryError) -> [Reservation]

    /// The node that a port is kept for.
    func owner(of protocol: PortProtocol, port: UInt16) throws(RegistryError) -> NodeID?

    /// Whether anybody else, most likely the command line in another process, has changed the registry since this was
    /// asked last. Cheap enough to ask every second: a relay then looks after the sessions of nodes that were removed.
    func hasChangedElsewhere() throws(RegistryError) -> Bool
}

/// What a registry says to a login.
public enum Admission: Equatable, Sendable {
    /// `newlyRegistered` where this login used the invite up.
    case admitted(NodeRecord, newlyRegistered: Bool)
    case refused(RefusalReason)
}

/// Why a node was not admitted; the description is for the person who runs the node.
public enum RefusalReason: String, Equatable, Sendable, CaseIterable, CustomStringConvertible {
    case unknownNode
    case inviteUnknown
    case inviteUsed
    case inviteExpired
    case revoked

    public var description: String {
        switch self {
        case .unknownNode: "the relay does not know this node's key: join it with an invite (natfwt join)"
        case .inviteUnknown: "the relay does not know this invite: it was withdrawn or replaced, or is another relay's"
        case .inviteUsed: "the invite was used by another node already: ask for one of your own"
        case .inviteExpired: "the invite has expired: ask for a new one"
        case .revoked: "this node was removed from the relay: ask for a new invite"
        }
    }
}

/// What became of the wish for a port.
public enum ReservationResult: Equatable, Sendable {
    case reserved
    /// Another node has it.
    case taken(by: NodeID)
}

/// What `remove` took out.
public enum Removal: Equatable, Sendable {
    case node(NodeRecord)
    case invite(InviteRecord)
}
