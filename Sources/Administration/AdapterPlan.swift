// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What an agent tells the command that makes a device for it: what the device is to have.
public struct AdapterPlan: Equatable, Sendable {
    /// The node's transport ID.
    public var address: IPAddress
    /// Bits of it that all transport IDs share: the route.
    public var prefix: Int
    /// In bytes.
    public var mtu: Int

    public init(address: IPAddress, prefix: Int, mtu: Int) {
        self.address = address
        self.prefix = prefix
        self.mtu = mtu
    }

    /// `device ADDRESS PREFIX MTU`.
    public var line: String { "device \(address) \(prefix) \(mtu)" }

    /// Nil for a line that says something else.
    public init?(line: some StringProtocol) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 4, words[0] == "device", let address = IPAddress(String(words[1])), address.family == .v6,
            let prefix = Int(words[2]), (0...128).contains(prefix), let mtu = Int(words[3]),
            (1_280...65_535).contains(mtu)
        else { return nil }
        self.init(address: address, prefix: prefix, mtu: mtu)
    }
}
