// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// What a host's resolver is told, in the form of resolv.conf(5): of it, the servers.
public struct ResolverConfiguration: Equatable, Sendable {
    /// At most three, as resolvers have it, each at port 53.
    public let servers: [TransportAddress]

    /// Lines that are no server's address are passed over, as resolvers do.
    public init(_ text: String) {
        var servers: [TransportAddress] = []
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count >= 2, words[0] == "nameserver", let address = IPAddress(String(words[1])) else {
                continue
            }
            servers.append(TransportAddress(address, port: 53))
        }
        self.servers = Array(servers.prefix(3))
    }
}
