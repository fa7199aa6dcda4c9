// SPDX-License-Identifier: Apache-2.0

/// The addresses that begin with the same bits, written `10.0.0.0/8` or `2001:db8::/32`; a single address is a prefix of
/// its whole length.
public struct AddressPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// How many bits they share: up to 32 for IPv4, up to 128 for IPv6.
    public let length: Int

    /// Nil where the address has more bits than the prefix is long, for then it is not clear what is meant, or a scope. An
    /// IPv4 prefix that was written as IPv6 becomes the IPv4 prefix that it is.
    public init?(_ address: IPAddress, length: Int) {
        let canonical = address.canonical
        let length = canonical.family == address.family ? length : length - 96
        let width = canonical.family.width
        guard (0...width).contains(length), canonical.scope == 0 else { return nil }
        guard canonical.value & ~AddressPrefix.mask(length, of: width) == 0 else { return nil }
        self.address = canonical
        self.length = length
    }

    /// Reads the form that `description` has; without a length it is one address.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        guard parts.count == 2 else {
            self.init(address, length: address.family.width)
            return
        }
        let digits = parts[1].utf8
        guard (1...3).contains(digits.count), digits.count == 1 || digits.first != UInt8(ascii: "0"),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }

    /// Whether the address is one of these; an IPv4 address that was written as IPv6 counts as what it is.
    public func contains(_ address: IPAddress) -> Bool {
        let address = address.canonical
        let width = address.family.width
        return address.family == self.address.family
            && address.value & AddressPrefix.mask(length, of: width) == self.address.value
    }

    private static func mask(_ length: Int, of width: Int) -> UInt128 {
        let all = UInt128.max >> UInt128(128 - width)
        return length == 0 ? 0 : all & ~(all >> UInt128(length))
    }
}

extension AddressPrefix: CustomStringConvertible {
    public var description: String { length == address.family.width ? "\(address)" : "\(address)/\(length)" }
}

extension IPAddress.Family {
    /// Bits of an address.
    public var width: Int { self == .v4 ? 32 : 128 }
}
