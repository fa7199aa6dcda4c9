// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The types of frames (tunnel protocol, "Frames").
struct FrameType: RawRepresentable, Equatable {
    var rawValue: UInt8

    static let hello = FrameType(rawValue: 1)
    static let welcome = FrameType(rawValue: 2)
    static let ping = FrameType(rawValue: 3)
    static let pong = FrameType(rawValue: 4)
    static let goAway = FrameType(rawValue: 5)
    static let open = FrameType(rawValue: 6)
    static let opened = FrameType(rawValue: 7)
    static let data = FrameType(rawValue: 8)
    static let credit = FrameType(rawValue: 9)
    static let reset = FrameType(rawValue: 10)
    static let datagram = FrameType(rawValue: 11)
    static let expose = FrameType(rawValue: 12)
    static let exposed = FrameType(rawValue: 13)
    static let unexpose = FrameType(rawValue: 14)
    static let reach = FrameType(rawValue: 15)
    static let reached = FrameType(rawValue: 16)
    static let signal = FrameType(rawValue: 17)
    // 18 is kept for RESUME.
    static let meet = FrameType(rawValue: 19)
    static let join = FrameType(rawValue: 20)
    static let joined = FrameType(rawValue: 21)
}

/// The bits of a frame's second byte.
struct FrameFlags: OptionSet {
    var rawValue: UInt8

    /// On DATA: these are the stream's last bytes (half-close). On CREDIT: the end was received too.
    static let fin = FrameFlags(rawValue: 0x01)
    /// Whoever does not know this type may skip it.
    static let skippable = FrameFlags(rawValue: 0x80)
}

/// The eight bytes before a frame's payload.
struct FrameHeader: Equatable {
    static let size = 8

    var type: FrameType
    var flags: FrameFlags
    /// Bytes of payload behind the header.
    var length: Int
    /// The stream that it concerns, or 0 for the tunnel itself.
    var stream: UInt32

    init(_ type: FrameType, flags: FrameFlags = [], length: Int, stream: UInt32 = 0) {
        self.type = type
        self.flags = flags
        self.length = length
        self.stream = stream
    }

    /// Reads the header as it stands on the wire, as one big-endian number.
    init(wire: UInt64) {
        type = FrameType(rawValue: UInt8(truncatingIfNeeded: wire >> 56))
        flags = FrameFlags(rawValue: UInt8(truncatingIfNeeded: wire >> 48))
        length = Int(UInt16(truncatingIfNeeded: wire >> 32))
        stream = UInt32(truncatingIfNeeded: wire)
    }

    /// The header as it stands on the wire, as one big-endian number.
    var wire: UInt64 {
        UInt64(type.rawValue) << 56 | UInt64(flags.rawValue) << 48 | UInt64(UInt16(truncatingIfNeeded: length)) << 32
            | UInt64(stream)
    }
}
