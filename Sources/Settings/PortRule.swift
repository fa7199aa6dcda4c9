// SPDX-License-Identifier: Apache-2.0

/// What a port carries.
public enum Transport: String, Hashable, Sendable, CaseIterable {
    case tcp, udp
}

/// Ports of one protocol that may be asked for: `tcp:20000-20100` or `udp:5353`.
public struct PortRule: Hashable, Sendable {
    /// The protocol that the ports are of.
    public var transport: Transport
    /// From the first to the last of them.
    public var ports: ClosedRange<UInt16>

    /// Ports of one protocol.
    public init(transport: Transport, ports: ClosedRange<UInt16>) {
        self.transport = transport
        self.ports = ports
    }

    /// Reads `tcp:20000-20100` or `udp:5353`; ports are 1 to 65535.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let transport = Transport(rawValue: String(parts[0])),
            let ports = PortRule.range(String(parts[1]))
        else { return nil }
        self.init(transport: transport, ports: ports)
    }

    /// Whether that port of that protocol is one of these.
    public func contains(_ transport: Transport, _ port: UInt16) -> Bool {
        transport == self.transport && ports.contains(port)
    }

    /// Reads `20000-29999` or `5353`; nil for port 0, for what is past 65535, and for a range that runs backwards.
    public static func range(_ text: String) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map(port)
        guard let first = ends.first, let low = first, let last = ends.last, let high = last, low <= high else {
            return nil
        }
        return low...high
    }

    private static func port(_ text: Substring) -> UInt16? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(text), port > 0
        else { return nil }
        return port
    }
}

extension PortRule: CustomStringConvertible {
    public var description: String { "\(transport.rawValue):\(PortRule.text(ports))" }

    static func text(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }
}
