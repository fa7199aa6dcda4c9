// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Names of addresses, by which their hosts' names are asked for: `1.0.18.198.in-addr.arpa` (RFC 1035, 3.5) and
/// thirty-two digits below `ip6.arpa` (RFC 3596, 2.5).
extension DNSName {
    /// The address that this is the name of; nil where it is none's, or that of many.
    public var reversedAddress: IPAddress? {
        guard let text else { return nil }
        if text.hasSuffix(DNSName.v4Zone) { return DNSName.v4(text.dropLast(DNSName.v4Zone.count)) }
        if text.hasSuffix(DNSName.v6Zone) { return DNSName.v6(text.dropLast(DNSName.v6Zone.count)) }
        return nil
    }

    /// The name of an address.
    public init?(reverseOf address: IPAddress) {
        switch address.family {
        case .v4:
            self.init(address.bytes.reversed().map(String.init).joined(separator: ".") + DNSName.v4Zone)
        case .v6:
            let digits = (0..<32).map {
                String(UInt8(truncatingIfNeeded: address.value >> UInt128(4 * $0)) & 15, radix: 16)
            }
            self.init(digits.joined(separator: ".") + DNSName.v6Zone)
        }
    }

    private static let v4Zone = ".in-addr.arpa"
    private static let v6Zone = ".ip6.arpa"

    private static func v4(_ labels: Substring) -> IPAddress? {
        IPAddress(labels.split(separator: ".", omittingEmptySubsequences: false).reversed().joined(separator: "."))
    }

    private static func v6(_ labels: Substring) -> IPAddress? {
        let digits = labels.split(separator: ".", omittingEmptySubsequences: false)
        guard digits.count == 32 else { return nil }
        var value: UInt128 = 0
        for digit in digits.reversed() {
            guard digit.utf8.count == 1, let nibble = UInt128(digit, radix: 16) else { return nil }
            value = value << 4 | nibble
        }
        return IPAddress(v6: value)
    }
}
