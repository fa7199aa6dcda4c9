// SPDX-License-Identifier: Apache-2.0

public import Primitives

// The payloads of the frames that concern the whole tunnel. Numbers are big-endian, byte strings stand behind their
// length (8 or 16 bits); bytes behind the last field are a later version's, and ignored.

/// What one side can do beyond the first revision of the protocol. Bits that are not known are ignored.
public struct Capabilities: OptionSet, Equatable, Sendable {
    public var rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A relay makes two connections into one (JOIN), a node meets others there (MEET).
    public static let joining = Capabilities(rawValue: 1 << 0)
    /// What this code can do.
    public static let own: Capabilities = [.joining]
}

/// HELLO: the dialing side's first frame.
public struct Hello: Equatable, Sendable {
    /// The newest version that the sender speaks.
    public var version: UInt16 = Tunnel.version
    public var capabilities = Capabilities.own
    /// What the node calls itself. The relay's registry has the last word.
    public var nodeName: String
    /// The tunnel to resume and the token for it; empty for a new one.
    public var tunnelID: [UInt8] = []
    public var resumeToken: [UInt8] = []
    /// The token of an invite, from a node that may not be known yet; else empty.
    public var inviteToken: [UInt8] = []
    public var streams: UInt32
    public var earlyWindow: UInt64

    public init(nodeName: String, inviteToken: [UInt8] = [], limits: TunnelLimits) {
        self.nodeName = nodeName
        self.inviteToken = inviteToken
        streams = UInt32(clamping: limits.streams)
        earlyWindow = UInt64(clamping: limits.earlyWindow)
    }
}

/// WELCOME: the accepting side's first frame, once it admits the node.
public struct Welcome: Equatable, Sendable {
    public var version: UInt16 = Tunnel.version
    public var capabilities = Capabilities.own
    /// The name that the registry has for the node.
    public var nodeName: String
    /// The transport IDs that the node has here.
    public var transportIDs: [IPAddress]
    /// Where the node's carrier comes from, as seen here.
    public var observedAddress: TunnelAddress
    public var livenessInterval: Duration
    public var tunnelID: [UInt8]
    public var resumeToken: [UInt8]
    public var streams: UInt32
    public var earlyWindow: UInt64

    public init(
        nodeName: String, transportIDs: [IPAddress], observedAddress: TunnelAddress, livenessInterval: Duration,
        tunnelID: [UInt8], resumeToken: [UInt8], limits: TunnelLimits
    ) {
        self.nodeName = nodeName
        self.transportIDs = transportIDs
        self.observedAddress = observedAddress
        self.livenessInterval = livenessInterval
        self.tunnelID = tunnelID
        self.resumeToken = resumeToken
        streams = UInt32(clamping: limits.streams)
        earlyWindow = UInt64(clamping: limits.earlyWindow)
    }
}

/// GOAWAY: no new streams, and why.
public struct GoAway: Equatable, Sendable {
    public var code: GoAwayCode
    /// What happened and what can be done, for a person.
    public var text: String

    public init(code: GoAwayCode, text: String) {
        self.code = code
        self.text = text
    }
}

/// OPEN: a new stream.
public struct OpenRequest: Equatable, Sendable {
    public enum Kind: UInt8, Sendable { case stream = 1, datagram = 2 }

    public var kind: Kind
    public var destination: TunnelAddress
    public var source: TunnelAddress
    /// The highest offset that the receiver of this OPEN may send to.
    var window: UInt64 = 0

    public init(kind: Kind, destination: TunnelAddress, source: TunnelAddress) {
        self.kind = kind
        self.destination = destination
        self.source = source
    }
}

/// REACH: is this node there? The relay knows the nodes by name and by transport ID.
public struct ReachRequest: Equatable, Sendable {
    /// Chosen by whoever asks, not ``ReachAnswer/noticeID``; REACHED names it.
    public var id: UInt32
    /// A node's name (a host without a port), a transport ID, or none: every node.
    public var target: TunnelAddress

    public init(id: UInt32, target: TunnelAddress) {
        self.id = id
        self.target = target
    }
}

/// REACHED: the answer to REACH, one frame for each node.
public struct ReachAnswer: Equatable, Sendable {
    /// What the relay knows of a node.
    public enum State: UInt8, Sendable {
        /// No node has that name or transport ID.
        case unknown = 0
        /// The node is known, and not connected.
        case away = 1
        case here = 2
    }

    public var id: UInt32
    /// Whether more answers to the same request follow.
    public var isFollowed: Bool
    public var state: State
    /// The SHA-256 of the node's public key, 32 bytes, of which its transport ID is made; empty where it is unknown.
    public var key: [UInt8]
    /// The name that the relay's registry has for it.
    public var name: String
    /// Whether the relay lets who asks make tunnels to the node, and the node make them to who asks. A relay that says nothing of it
    /// is taken to do so.
    public var mayBeReached = true
    public var mayReach = true

    public init(id: UInt32, state: State, key: [UInt8] = [], name: String = "", isFollowed: Bool = false) {
        self.id = id
        self.state = state
        self.key = key
        self.name = name
        self.isFollowed = isFollowed
    }

    /// No question has this ID.
    public static let noticeID: UInt32 = 0
    /// An answer to nothing: what the relay says of nodes may have changed.
    public static let notice = ReachAnswer(id: noticeID, state: .unknown)
}

/// SIGNAL: where the sender takes a direct connection from the node that is told.
public struct Signal: Equatable, Sendable {
    /// The most that one frame names.
    public static let mostCandidates = 16

    /// Addresses with ports, the likeliest first; none: it takes no direct connection (any more).
    public var candidates: [TransportAddress]

    public init(candidates: [TransportAddress]) { self.candidates = candidates }
}

/// MEET: both sides are to connect to their relay, which makes one connection of the two. The secret is between them.
public struct Meet: Equatable, Sendable {
    public static let tokenLength = 16
    public static let secretLength = 32

    /// By it the relay knows what belongs together.
    public var token: [UInt8]
    /// From it come the keys of the connection.
    public var secret: [UInt8]

    public init(token: [UInt8], secret: [UInt8]) {
        self.token = token
        self.secret = secret
    }
}

/// JOIN: in place of HELLO, for a connection that a relay is to make one with that of another node.
public struct JoinRequest: Equatable, Sendable {
    public var token: [UInt8]
    /// The other node's transport ID.
    public var peer: IPAddress

    public init(token: [UInt8], peer: IPAddress) {
        self.token = token
        self.peer = peer
    }
}

/// EXPOSE: a port of the relay is asked for.
public struct ExposeRequest: Equatable, Sendable {
    public enum Transport: UInt8, Sendable { case tcp = 1, udp = 2 }

    /// Chosen by the node; EXPOSED and UNEXPOSE name it.
    public var id: UInt32
    public var transport: Transport
    /// The port that is wanted, or 0 for any.
    public var port: UInt16
    /// What the node calls it: the same name gets the same port again where the relay chooses.
    public var name: String

    public init(id: UInt32, transport: Transport, port: UInt16, name: String = "") {
        self.id = id
        self.transport = transport
        self.port = port
        self.name = name
    }
}

/// EXPOSED: the relay's answer to EXPOSE.
public struct ExposeAnswer: Equatable, Sendable {
    public var id: UInt32
    /// The port that was given, or 0 for a refusal.
    public var port: UInt16
    /// Why it was refused, for a person; empty where it was not.
    public var refusal: String

    public init(id: UInt32, port: UInt16, refusal: String = "") {
        self.id = id
        self.port = port
        self.refusal = refusal
    }
}
