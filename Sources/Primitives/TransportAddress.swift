// SPDX-License-Identifier: Apache-2.0

/// An IP address and a port (RFC 8489, 3: "transport address").
public struct TransportAddress: Hashable, Sendable {
    public var ip: IPAddress
    public var port: UInt16

    public init(_ ip: IPAddress, port: UInt16) {
        self.ip = ip
        self.port = port
    }

    /// Reads `192.0.2.1:443` or `[2001:db8::1]:443`.
    public init?(_ text: String) {
        guard let named = HostAndPort(text), let ip = IPAddress(named.host) else { return nil }
        self.init(ip, port: named.port)
    }
}

extension TransportAddress: CustomStringConvertible {
    public var description: String { ip.family == .v4 ? "\(ip):\(port)" : "[\(ip)]:\(port)" }
}

/// A host, by name or by address, and a port, as people write them.
public struct HostAndPort: Hashable, Sendable {
    /// A name, or an address without brackets.
    public var host: String
    public var port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `example.org:443`, `192.0.2.1:443` or `[2001:db8::1]:443`; where the port is left out, `defaultPort` stands
    /// in for it, and without one the text is refused.
    public init?(_ text: String, defaultPort: UInt16? = nil) {
        let host: Substring
        let rest: Substring
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<close]
            rest = text[text.index(after: close)...]
            guard IPAddress(String(host))?.family == .v6 else { return nil }
        } else if IPAddress(text)?.family == .v6 {
            host = text[...]
            rest = ""
        } else {
            let colon = text.firstIndex(of: ":") ?? text.endIndex
            host = text[..<colon]
            rest = text[colon...]
            guard HostAndPort.isName(host) else { return nil }
        }
        if rest.isEmpty {
            guard let defaultPort else { return nil }
            self.init(host: String(host), port: defaultPort)
        } else {
            let digits = rest.dropFirst()
            guard rest.hasPrefix(":"), digits.allSatisfy(\.isASCIIDigit), let port = UInt16(digits) else { return nil }
            self.init(host: String(host), port: port)
        }
    }

    /// The address, where the host is one.
    public var address: TransportAddress? { IPAddress(host).map { TransportAddress($0, port: port) } }

    /// RFC 1123, 2.1, with the underscore that real networks use: labels of up to 63 characters, 253 in all, and the last
    /// one no number, which resolvers take for an address in an old form (127.1, 0x7f000001).
    private static func isName(_ host: Substring) -> Bool {
        guard let labels = labels(of: host), let last = labels.last else { return false }
        guard !isNumber(last) || IPAddress(String(host)) != nil else { return false }
        return labels.allSatisfy { !$0.hasPrefix("-") && !$0.hasSuffix("-") }
    }

    /// Whether a resolver may be asked for this: a name by its length and its characters. It may still be one that
    /// resolvers take for an address in an old form (127.1, 0x7f000001), so that the answer is what is to be judged.
    public static func isResolvable(_ host: some StringProtocol) -> Bool { labels(of: Substring(host)) != nil }

    private static func labels(of host: Substring) -> [Substring]? {
        let trimmed = host.hasSuffix(".") ? host.dropLast() : host
        guard !trimmed.isEmpty, trimmed.utf8.count <= 253 else { return nil }
        let labels = trimmed.split(separator: ".", omittingEmptySubsequences: false)
        let areAll = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count)
                && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        }
        return areAll ? labels : nil
    }

    private static func isNumber(_ label: Substring) -> Bool {
        let isHexadecimal = label.hasPrefix("0x") || label.hasPrefix("0X")
        return isHexadecimal ? label.dropFirst(2).allSatisfy(\.isHexDigit) : label.allSatisfy(\.isASCIIDigit)
    }
}

extension HostAndPort: CustomStringConvertible {
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
