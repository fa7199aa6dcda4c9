// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What an agent tells the command that makes a device for it: what the device is to have, and who answers names there.
public struct AdapterPlan: Equatable, Sendable {
    /// The node's transport ID.
    public var address: IPAddress
    /// Bits of it that all transport IDs share: the route.
    public var prefix: Int
    /// In bytes.
    public var mtu: Int
    /// Who answers DNS, behind the device.
    public var nameServer: IPAddress
    /// What nodes' names end with.
    public var suffix: String

    public init(address: IPAddress, prefix: Int, mtu: Int, nameServer: IPAddress, suffix: String) {
        self.address = address
        self.prefix = prefix
        self.mtu = mtu
        self.nameServer = nameServer
        self.suffix = suffix
    }

    /// `device ADDRESS PREFIX MTU NAMESERVER SUFFIX`.
    public var line: String { "device \(address) \(prefix) \(mtu) \(nameServer) \(suffix)" }

    /// Nil for a line that says something else.
    public init?(line: some StringProtocol) {
        let words: [String] = line.split(separator: " " as Character, omittingEmptySubsequences: false).map {
            String($0)
        }
        guard words.count == 6, words[0] == "device", let address = IPAddress(words[1]), address.family == .v6,
            let prefix = Int(words[2]), (0...128).contains(prefix), let mtu = Int(words[3]),
            (1_280...65_535).contains(mtu), let nameServer = IPAddress(words[4]), !words[5].isEmpty
        else { return nil }
        self.init(address: address, prefix: prefix, mtu: mtu, nameServer: nameServer, suffix: words[5])
    }
}
