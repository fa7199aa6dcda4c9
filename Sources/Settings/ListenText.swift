// SPDX-License-Identifier: Apache-2.0

internal import Identity
public import Primitives

/// Where something listens on this host, as people write it: `15432` for both loopback addresses, `127.0.0.1:15432`,
/// `[::1]:15432`, `*:15432` for every address, or several of these with commas between them.
public enum ListenText {
    /// What to tell a person who wrote something else.
    public static let expected =
        "a port such as \"1080\", or an address and a port such as \"127.0.0.1:1080\", \"[::1]:1080\" or \"*:1080\""

    /// The addresses that `text` stands for, none twice; nil where it can't be understood, and for port 0.
    public static func parse(_ text: String) -> [TransportAddress]? {
        var all: [TransportAddress] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let addresses = one(String(part)), !addresses.contains(where: all.contains) else { return nil }
            all += addresses
        }
        return all
    }

    /// The text that reads back as the same addresses.
    public static func text(_ addresses: [TransportAddress]) -> String {
        if let port = addresses.first?.port {
            if addresses == loopback(port) { return "\(port)" }
            if addresses == everywhere(port) { return "*:\(port)" }
        }
        return addresses.map(\.description).joined(separator: ",")
    }

    private static func one(_ text: String) -> [TransportAddress]? {
        if let port = PortText.one(text) { return loopback(port) }
        guard let colon = text.lastIndex(of: ":"), let port = PortText.one(text[text.index(after: colon)...]) else {
            return nil
        }
        switch text[..<colon] {
        case "*": return everywhere(port)
        case "localhost": return loopback(port)
        default: return TransportAddress(text).map { [$0] }
        }
    }

    private static func loopback(_ port: UInt16) -> [TransportAddress] {
        [TransportAddress(.loopbackV4, port: port), TransportAddress(.loopbackV6, port: port)]
    }

    private static func everywhere(_ port: UInt16) -> [TransportAddress] {
        [TransportAddress(.anyV4, port: port), TransportAddress(.anyV6, port: port)]
    }
}

/// Ports as people write them.
public enum PortText {
    /// A port from 1 to 65535, in digits and nothing else.
    public static func one(_ text: some StringProtocol) -> UInt16? {
        guard !text.contains("-"), let ports = PortRule.range(text) else { return nil }
        return ports.lowerBound
    }

    /// `22` or `8000-8010`, as it reads back.
    public static func text(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }
}

extension TableReader {
    /// The key `listen`, which must be there: a text, or a port as a number.
    mutating func listening() -> [TransportAddress]? {
        required("listen") { table in
            table.value("listen", expected: ListenText.expected) { value in
                switch value {
                case .integer(let number): ListenText.parse("\(number)")
                case .string(let text): ListenText.parse(text)
                default: nil
                }
            }
        }
    }
}

/// What the tables of one file listen on: no two may want the same.
struct ListeningPlaces {
    private var taken: [TransportAddress: Int] = [:]

    /// Takes the addresses for the table that begins on `line`; where one is taken already, says so.
    mutating func take(_ addresses: [TransportAddress], line: Int, listenLine: Int, of table: TableReader) {
        for address in addresses {
            let any = TransportAddress(address.ip.family == .v4 ? .anyV4 : .anyV6, port: address.port)
            if let first = taken[address] ?? taken[any] {
                table.problem("listen", line: listenLine, "\(address) is listened on already on line \(first)")
                return
            }
            if address == any, let other = taken.first(where: { $0.key.sharesPort(with: address) }) {
                table.problem("listen", line: listenLine, "\(other.key) is listened on already on line \(other.value)")
                return
            }
            taken[address] = line
        }
    }
}

extension TransportAddress {
    fileprivate func sharesPort(with other: TransportAddress) -> Bool {
        port == other.port && ip.family == other.ip.family
    }
}
