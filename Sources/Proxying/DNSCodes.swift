// SPDX-License-Identifier: Apache-2.0

/// What RFC 1035, RFC 3596 and RFC 6891 fix.
enum DNS {
    /// RFC 1035, 4.1.1.
    static let headerSize = 12
    /// RFC 1035, 2.3.4: octets of a name, lengths and root included, and of a label.
    static let longestName = 255
    static let longestLabel: UInt8 = 63
    /// A name that goes on at the message's first: a pointer (RFC 1035, 4.1.4) to behind the header.
    static let pointer: UInt16 = 0xC000

    /// RFC 1035, 4.1.1, and RFC 4035, 3.2.2.
    enum Flag {
        static let isAnswer: UInt16 = 0x8000
        static let opcode: UInt16 = 0x7800
        static let isAuthoritative: UInt16 = 0x0400
        static let recursionDesired: UInt16 = 0x0100
        static let recursionAvailable: UInt16 = 0x0080
        static let checkingDisabled: UInt16 = 0x0010
        static let code: UInt16 = 0x000F
    }

    /// RFC 6891, 6.1.
    enum EDNS {
        static let version: UInt8 = 0
        /// Of an OPT record's TTL: DNSSEC OK (RFC 3225, 3).
        static let wantsSignatures: UInt32 = 0x8000
        /// What this side takes: no fragment on any path (RFC 9715).
        static let size: UInt16 = 1_232
    }
}

/// The type of a record, or of those that are asked for (RFC 1035, 3.2.2).
public struct DNSType: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let a = DNSType(rawValue: 1)
    public static let soa = DNSType(rawValue: 6)
    public static let ptr = DNSType(rawValue: 12)
    public static let aaaa = DNSType(rawValue: 28)
    /// RFC 6891, 6.1.1.
    public static let opt = DNSType(rawValue: 41)
    /// A whole zone, or what has changed of it: not by datagrams.
    public static let ixfr = DNSType(rawValue: 251)
    public static let axfr = DNSType(rawValue: 252)
    public static let any = DNSType(rawValue: 255)
}

/// The class of a record (RFC 1035, 3.2.4).
public struct DNSClass: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let internet = DNSClass(rawValue: 1)
    public static let any = DNSClass(rawValue: 255)
}

/// How an answer ends (RFC 1035, 4.1.1; those from 16 on need EDNS: RFC 6891, 6.1.3).
public struct DNSResponseCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let noError = DNSResponseCode(rawValue: 0)
    public static let formatError = DNSResponseCode(rawValue: 1)
    public static let serverFailure = DNSResponseCode(rawValue: 2)
    /// There is no such name.
    public static let nameError = DNSResponseCode(rawValue: 3)
    public static let notImplemented = DNSResponseCode(rawValue: 4)
    public static let refused = DNSResponseCode(rawValue: 5)
    public static let badVersion = DNSResponseCode(rawValue: 16)
}
