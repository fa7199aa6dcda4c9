// SPDX-License-Identifier: Apache-2.0

/// The bounds of one tunnel. Bytes unless the name says otherwise.
public struct TunnelLimits: Sendable, Equatable {
    /// Streams that the peer may have open at once.
    public var streams = 20_000
    /// The window that a stream begins with, once it is accepted.
    public var firstWindow = 256 << 10
    /// What the opener of a stream may send before the stream is accepted.
    public var earlyWindow = 64 << 10
    /// The widest that a stream's window may grow.
    public var largestWindow = 16 << 20
    /// What all streams together may hold: sent and not known to be received; and, on the other side, by how much the
    /// windows together may grow.
    public var queuedBytes = 64 << 20
    /// Datagrams that wait to be sent; the oldest are dropped beyond it.
    public var datagramQueue = 256 << 10
    /// Control frames that wait to be sent; a peer that makes more and reads none breaks the protocol.
    public var controlQueue = 1 << 20
    /// The payload of a frame other than DATA and DATAGRAM.
    public var controlFrame = 16 << 10
    /// Streams that the peer may open in a second, with a burst of as many.
    public var opensPerSecond = 20_000

    public init() {}
}

/// What this implementation chose, where the protocol leaves the choice. Bytes.
enum Chosen {
    /// One frame, one TLS record, when others wait.
    static let sharedFramePayload = 16_376
    /// What one call of `fill` gives: what may wait unsent in a carrier. With TLS around it, four records of 22 bytes, it is
    /// 45 segments of 1,448 bytes, what the kernel takes at most as one for an interface that cuts it up (Ethernet,
    /// IPv4); with more a few bytes are left, which are a segment of their own and cost as much as the rest.
    static let fill = 45 * 1_448 - 4 * 22
    /// Unsent bytes of one stream beyond which its application is asked to wait.
    static let unsentBytes = 128 << 10
    /// The same for all streams of a tunnel: more would only lie about, and push what is needed out of the caches.
    static let unsentBytesOfAll = 256 << 10
    /// Payloads shorter than this are copied into the stream's ring rather than kept in their read buffers.
    static let copiedPayload = 4_096
    /// What a stream's empty queue keeps of its memory while payloads come and go (bytes of small ones, and places), and
    /// how often it is looked whether they still do. What a busy stream holds between two confirmations fits.
    static let warmRing = 128 << 10
    static let warmPlaces = 64
    static let warmFor: Duration = .seconds(1)
    /// A receiver reports what it received at least this often.
    static let reportEvery = 64 << 10
    static let reportEveryAtMost = 256 << 10
    static let reportWithin: Duration = .milliseconds(100)
    /// A round-trip time older than this is measured anew while data flows.
    static let roundTripAge: Duration = .seconds(2)
}
