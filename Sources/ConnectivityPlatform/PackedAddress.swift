// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// An optional IP address, and a port, in 23 bytes, for the sake of those who hold a hundred thousand.
struct PackedAddress: Hashable, Sendable {
    private let high: UInt64
    private let low: UInt64
    private let scope: UInt32
    let port: UInt16
    private let family: IPAddress.Family?

    init(_ ip: IPAddress?, port: UInt16) {
        high = UInt64(truncatingIfNeeded: (ip?.value ?? 0) >> 64)
        low = UInt64(truncatingIfNeeded: ip?.value ?? 0)
        scope = ip?.scope ?? 0
        self.port = port
        family = ip?.family
    }

    var ip: IPAddress? {
        switch family {
        case nil: nil
        case .v4: IPAddress(v4: UInt32(truncatingIfNeeded: low))
        case .v6: IPAddress(v6: UInt128(high) << 64 | UInt128(low), scope: scope)
        }
    }

    /// The address and the port, where there is an address.
    var address: TransportAddress? { ip.map { TransportAddress($0, port: port) } }
}
