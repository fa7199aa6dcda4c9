// SPDX-License-Identifier: Apache-2.0

// What an address is for, after the IANA special-purpose address registries (RFC 6890, updated by RFC 8190).

extension IPAddress {
    /// Whether this is an address of some host in the public Internet: anything but the ranges that mean this host, a
    /// private network, many hosts at once, an example, or another address in disguise.
    ///
    /// Where the registries grant a whole range only exceptions that are global (192.0.0.0/24, 2001::/23), none of the
    /// range is: nobody's services are there. IPv6 is global only within 2000::/3, the only part that is given out
    /// (RFC 4291, 2.4), so that what is reserved stays so. An IPv4 address that was written as IPv6 is judged as what it
    /// is; the other forms that hold one (compatible, NAT64, 6to4, Teredo) are not global, whatever they hold.
    public var isGlobal: Bool {
        let address = canonical
        // A scope is for addresses that mean something on one link only.
        guard address.scope == 0 else { return false }
        switch address.family {
        case .v4: return !IPAddress.localV4.contains { $0.contains(address.value) }
        case .v6: return address.value >> 125 == 0b001 && !IPAddress.localV6.contains { $0.contains(address.value) }
        }
    }

    /// The IPv4 address that a NAT64 with the well-known prefix, 64:ff9b::/96, reaches by this one (RFC 6052, 2.1).
    public var translated: IPAddress? {
        guard family == .v6, value >> 32 == 0x64_FF9B << 64 else { return nil }
        return IPAddress(v4: UInt32(truncatingIfNeeded: value))
    }

    /// A range by its first bits.
    private struct Range {
        let bits: UInt128
        let shift: UInt128

        init(v4 bits: UInt128, _ length: UInt128) {
            self.bits = bits >> (32 - length)
            shift = 32 - length
        }

        /// - Parameter bits: the first 32 bits.
        init(v6 bits: UInt128, _ length: UInt128) {
            shift = 128 - length
            self.bits = (bits << 96) >> shift
        }

        func contains(_ value: UInt128) -> Bool { value >> shift == bits }
    }

    private static let localV4 = [
        Range(v4: 0x0000_0000, 8),  // this network: RFC 791, 3.2
        Range(v4: 0x0A00_0000, 8),  // private use: RFC 1918
        Range(v4: 0x6440_0000, 10),  // shared between a provider and its customers: RFC 6598
        Range(v4: 0x7F00_0000, 8),  // loopback: RFC 1122, 3.2.1.3
        Range(v4: 0xA9FE_0000, 16),  // link-local, with the clouds' metadata services: RFC 3927
        Range(v4: 0xAC10_0000, 12),  // private use: RFC 1918
        Range(v4: 0xC000_0000, 24),  // protocol assignments: RFC 6890, 2.1
        Range(v4: 0xC000_0200, 24),  // documentation: RFC 5737
        Range(v4: 0xC058_6300, 24),  // 6to4 relays, deprecated: RFC 7526
        Range(v4: 0xC0A8_0000, 16),  // private use: RFC 1918
        Range(v4: 0xC612_0000, 15),  // benchmarking: RFC 2544
        Range(v4: 0xC633_6400, 24),  // documentation: RFC 5737
        Range(v4: 0xCB00_7100, 24),  // documentation: RFC 5737
        Range(v4: 0xE000_0000, 4),  // multicast: RFC 1112, 4
        Range(v4: 0xF000_0000, 4),  // reserved, and broadcast: RFC 1112, 4; RFC 919, 7
    ]

    /// Those within 2000::/3.
    private static let localV6 = [
        Range(v6: 0x2001_0000, 23),  // protocol assignments, with Teredo and ORCHID: RFC 2928, 4380, 7343
        Range(v6: 0x2001_0DB8, 32),  // documentation: RFC 3849
        Range(v6: 0x2002_0000, 16),  // 6to4: RFC 3056
        Range(v6: 0x3FFF_0000, 20),  // documentation: RFC 9637
    ]
}
