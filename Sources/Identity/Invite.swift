// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// All that a new node needs to join a relay, as one line of text to copy: where the relay is, by which key to know it, the
/// token to show it, and the node's name there. It holds a secret: it is printed once, and never logged.
public struct Invite: Equatable, Sendable {
    /// Relay addresses in one invite.
    public static let maximumRelays = 8

    /// Where the relay can be reached, in the order to try; 1 to 8.
    public let relays: [HostAndPort]
    /// The relay's key, which the node pins.
    public let relayID: NodeID
    public let token: InviteToken
    /// The name that the node was invited under.
    public let name: NodeName

    /// Nil where there is no address, more than 8, or one that can't be written (a host name of over 253 bytes).
    public init?(relays: [HostAndPort], relayID: NodeID, token: InviteToken, name: NodeName) {
        guard (1...Invite.maximumRelays).contains(relays.count), relays.allSatisfy(Invite.isWritable) else {
            return nil
        }
        self.relays = relays
        self.relayID = relayID
        self.token = token
        self.name = name
    }

    /// Whether an address survives being written and read elsewhere, so that no invite is made that nobody can redeem: an
    /// interface's name (`fe80::1%eth0`) means nothing on another host.
    public static func isWritable(_ relay: HostAndPort) -> Bool {
        relay.host.utf8.count <= 253 && !relay.host.contains("%") && relay.port != 0
            && HostAndPort(relay.description) == relay
    }
}

extension Invite: CustomStringConvertible {
    /// Without the token; `text` is the line itself.
    public var description: String { "Invite(\(name), \(relays.map(\.description).joined(separator: " ")), secret)" }
}

/// Why a text is no invite that can be used here, in words for the person who pasted it.
public enum InviteError: Error, Equatable, Sendable, CustomStringConvertible {
    case notAnInvite
    case tooLong
    /// A character was lost or changed on the way; the checksum tells.
    case mistyped
    /// Made by a natfwt whose invites have this version.
    case newerVersion(Int)
    /// Whole, but with something in it that cannot be; what.
    case unusable(String)

    public var description: String {
        switch self {
        case .notAnInvite: "this is not an invite; one begins with \(Invite.prefix)"
        case .tooLong:
            "this is not an invite: it is longer than \(Invite.maximumTextLength) characters; perhaps more was copied with it"
        case .mistyped:
            "the invite is incomplete or mistyped: copy the whole line again, from \(Invite.prefix) to its last character"
        case .newerVersion(let version):
            "the invite was made by a newer natfwt (invite version \(version), this one reads 1): update natfwt here"
        case .unusable(let what): "the invite can't be used: \(what)"
        }
    }
}
