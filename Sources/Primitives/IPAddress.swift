// SPDX-License-Identifier: Apache-2.0

import Glibc

/// An IPv4 or IPv6 address: a small value without strings inside.
public struct IPAddress: Hashable, Sendable {
    public enum Family: UInt8, Sendable { case v4 = 4, v6 = 6 }

    public let family: Family
    /// The address as a number: 32 significant bits for IPv4, 128 for IPv6.
    public let value: UInt128
    /// The interface's index that a link-local IPv6 address belongs to; 0 for every other.
    public let scope: UInt32

    public init(v4 value: UInt32) {
        family = .v4
        self.value = UInt128(value)
        scope = 0
    }

    public init(v6 value: UInt128, scope: UInt32 = 0) {
        family = .v6
        self.value = value
        self.scope = scope
    }

    public static let anyV4 = IPAddress(v4: 0)
    public static let anyV6 = IPAddress(v6: 0)
    public static let loopbackV4 = IPAddress(v4: 0x7F00_0001)
    public static let loopbackV6 = IPAddress(v6: 1)

    /// Reads `192.0.2.1`, `2001:db8::1` or `fe80::1%eth0`; nothing else: no short forms such as `127.1`.
    public init?(_ text: String) {
        // Most of what is asked about is a name.
        guard let first = text.utf8.first,
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) || text.utf8.contains(UInt8(ascii: ":"))
        else { return nil }
        // C would read no further than a NUL, and take what stands before it for the whole.
        guard !text.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(v4: UInt32(bigEndian: v4.s_addr))
            return
        }
        let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        var v6 = in6_addr()
        guard let first = parts.first, inet_pton(AF_INET6, String(first), &v6) == 1 else { return nil }
        var scope: UInt32 = 0
        if parts.count == 2 {
            let isNumber = parts[1].utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            scope = isNumber ? UInt32(parts[1]) ?? 0 : if_nametoindex(String(parts[1]))
            guard scope != 0 else { return nil }
        }
        self.init(v6: withUnsafeBytes(of: v6) { $0.loadUnaligned(as: UInt128.self) }.byteSwapped, scope: scope)
    }

    /// An IPv4 address that was written as IPv6 (`::ffff:0:0/96`) as the IPv4 address that it is.
    public var canonical: IPAddress {
        guard family == .v6, value >> 32 == 0xFFFF else { return self }
        return IPAddress(v4: UInt32(truncatingIfNeeded: value))
    }

    /// The address in network byte order: 4 or 16 bytes.
    public var bytes: [UInt8] {
        let width = family == .v4 ? 4 : 16
        return (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt128(8 * (width - 1 - $0))) }
    }

    public var isLoopback: Bool {
        switch family {
        case .v4: value >> 24 == 127
        case .v6: value == 1
        }
    }
    /// Loopback or every address, as the other family has it; nil for any other address.
    public var sameInOtherFamily: IPAddress? {
        switch self {
        case .loopbackV4: .loopbackV6
        case .loopbackV6: .loopbackV4
        case .anyV4: .anyV6
        case .anyV6: .anyV4
        default: nil
        }
    }
    public var isUnspecified: Bool { value == 0 }
    public var isLinkLocal: Bool {
        switch family {
        case .v4: value >> 16 == 0xA9FE
        case .v6: value >> 118 == 0x3FA
        }
    }
}

extension IPAddress: CustomStringConvertible {
    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        switch family {
        case .v4:
            var address = in_addr(s_addr: UInt32(truncatingIfNeeded: value).bigEndian)
            inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
        case .v6:
            var address = in6_addr()
            withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: value.byteSwapped, as: UInt128.self) }
            inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
        }
        let printed = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return scope == 0 ? printed : "\(printed)%\(scope)"
    }
}
