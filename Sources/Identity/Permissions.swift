// SPDX-License-Identifier: Apache-2.0

/// What a port is exposed for.
public enum PortProtocol: String, Hashable, Sendable, CaseIterable {
    case tcp
    case udp
}

/// Ports of one protocol that may be asked for, written `tcp:20000-20100`, `udp:53`, or `tcp:*` for every port that needs
/// no privilege.
public struct PortRule: Hashable, Sendable {
    /// The ports from 1024 on (RFC 6335, 6: below are the System Ports).
    public static let unprivileged: ClosedRange<UInt16> = 1_024...65_535

    public let `protocol`: PortProtocol
    /// Never port 0.
    public let ports: ClosedRange<UInt16>

    /// Nil where the range begins with port 0.
    public init?(_ protocol: PortProtocol, _ ports: ClosedRange<UInt16>) {
        guard ports.lowerBound > 0 else { return nil }
        self.protocol = `protocol`
        self.ports = ports
    }

    /// Reads the form that `description` has.
    public init(_ text: some StringProtocol) throws(PortRuleError) {
        let parts = String(text.prefix(64)).split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let found = PortProtocol(rawValue: String(parts[0])) else { throw PortRuleError(text) }
        if parts[1] == "*" {
            self.protocol = found
            ports = PortRule.unprivileged
            return
        }
        guard let range = PortRule.range(parts[1]) else { throw PortRuleError(text) }
        self.protocol = found
        ports = range
    }

    /// Reads `20000-29999` or `5353`; nil for port 0, for what is past 65535, and for a range that runs backwards.
    public static func range(_ text: some StringProtocol) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { port($0) }
        guard let first = ends.first, let low = first, let last = ends.last, let high = last, low <= high else {
            return nil
        }
        return low...high
    }

    /// Every unprivileged port of a protocol.
    public static func anyUnprivileged(_ protocol: PortProtocol) -> PortRule {
        PortRule(checked: `protocol`, unprivileged)
    }

    /// Whether that port of that protocol is one of these.
    public func allows(_ protocol: PortProtocol, _ port: UInt16) -> Bool {
        self.protocol == `protocol` && ports.contains(port)
    }

    private init(checked protocol: PortProtocol, _ ports: ClosedRange<UInt16>) {
        self.protocol = `protocol`
        self.ports = ports
    }

    private static func port(_ text: some StringProtocol) -> UInt16? {
        guard (1...5).contains(text.utf8.count),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let port = UInt16(text), port > 0
        else { return nil }
        return port
    }
}

extension PortRule: CustomStringConvertible {
    public var description: String {
        if ports == PortRule.unprivileged { return "\(self.protocol):*" }
        return ports.count == 1
            ? "\(self.protocol):\(ports.lowerBound)" : "\(self.protocol):\(ports.lowerBound)-\(ports.upperBound)"
    }
}

/// A text that is no rule, and what one looks like.
public struct PortRuleError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was found, cut where it is long.
    public let found: String

    init(_ text: some StringProtocol) {
        found = String(text.unicodeScalars.prefix(40).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : Character($0) })
    }

    public var description: String {
        "expected a protocol and its ports, such as tcp:20000-20100, udp:53 or tcp:*, with ports from 1 to 65535; "
            + "found \"\(found)\""
    }
}

/// What a node may do at a relay. What is not allowed is refused.
public struct Permissions: Hashable, Sendable {
    /// The ports that the node may ask for; none at all where it is empty.
    public var expose: [PortRule]
    /// Whether the node may go out to other hosts through the relay, where the relay lets anybody out.
    public var egress: Bool
    /// The nodes that it may connect to, where they let it in.
    public var reach: NodeReach

    public init(expose: [PortRule], egress: Bool = false, reach: NodeReach = .all) {
        self.expose = expose
        self.egress = egress
        self.reach = reach
    }

    /// What an invite gives that says nothing else: any unprivileged port, within what the relay itself allows, and every
    /// node that lets it in.
    public static let standard = Permissions(expose: PortProtocol.allCases.map(PortRule.anyUnprivileged))

    /// The word for ``egress`` among the rules, and how one of ``reach`` begins.
    private static let egressWord = "egress"
    private static let reachWord = "reach:"

    /// Whether one of the rules allows the port.
    public func mayExpose(_ protocol: PortProtocol, port: UInt16) -> Bool {
        expose.contains { $0.allows(`protocol`, port) }
    }

    /// The ports that may be asked for, for a person.
    public var exposable: String { expose.isEmpty ? "nothing" : expose.map(\.description).joined(separator: ",") }

    /// Reads rules with commas between them, and among them the word `egress` and `reach:NODE` for each node that may be
    /// reached (`reach:` where none may); an empty text allows no port.
    public init(_ text: some StringProtocol) throws(PortRuleError) {
        self.init(expose: [])
        for rule in text.split(separator: ",") {
            if rule == Permissions.egressWord {
                egress = true
            } else if rule.hasPrefix(Permissions.reachWord) {
                reach = try reach.adding(rule.dropFirst(Permissions.reachWord.count))
            } else {
                expose.append(try PortRule(rule))
            }
        }
    }
}

extension Permissions: CustomStringConvertible {
    public var description: String {
        let rules = expose.map(\.description) + (egress ? [Permissions.egressWord] : [])
        return (rules + reach.rules.map { Permissions.reachWord + $0 }).joined(separator: ",")
    }
}
