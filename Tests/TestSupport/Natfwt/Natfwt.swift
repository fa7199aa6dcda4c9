// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The program under test.
public enum Natfwt {
    /// NATFWT_BINARY, or the product that was built beside the test bundle.
    public static let binary: String = {
        if let named = ProcessInfo.processInfo.environment["NATFWT_BINARY"] { return named }
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return (bundle as NSString).deletingLastPathComponent + "/natfwt"
    }()

    /// Whether the program is there and has its subcommands. For `.enabled(if:)`.
    public static let isBuilt: Bool = {
        let (code, output) = Tool.runNow([binary, "relay", "--help"])
        return code == 0 && output.contains("--config")
    }()
}

/// Why a session ended, as the program spells it in logs and in its status.
public enum TerminationReason: String, Sendable, CaseIterable {
    case providerRequest, platformShutdown, providerTimeout, providerOtherFailure, otherCommunicationError

    /// How a line of the log for people says it.
    private var words: String {
        switch self {
        case .providerRequest: "provider request"
        case .platformShutdown: "platform shutdown"
        case .providerTimeout: "provider timeout"
        case .providerOtherFailure: "provider failure"
        case .otherCommunicationError: "communication error"
        }
    }

    /// The reasons that the agent's log tells, in its order: `session ended … reason="provider timeout"`.
    public static func all(in log: String) -> [TerminationReason] {
        log.matches(of: /session ended.*?reason="([a-z ]+)"/).compactMap { match in
            allCases.first { $0.words == match.1 }
        }
    }
}

/// A service that the agent exposes on a port of the relay, or a range of them on a range.
public struct Exposure: Sendable {
    public var transport: Transport
    /// As in the configuration: `127.0.0.1:80`, `localhost:7000-7004`.
    public var service: String
    public var ports: ClosedRange<Int>
    public var proxyProtocol: Bool

    /// - Parameter port: the relay's port; 0 leaves it to the relay.
    public init(_ transport: Transport, _ service: String, port: Int, proxyProtocol: Bool = false) {
        self.init(transport, service, ports: port...port, proxyProtocol: proxyProtocol)
    }

    public init(_ transport: Transport, _ service: String, ports: ClosedRange<Int>, proxyProtocol: Bool = false) {
        self.transport = transport
        self.service = service
        self.ports = ports
        self.proxyProtocol = proxyProtocol
    }

    var toml: String {
        let port = ports.count == 1 ? "\(ports.lowerBound)" : "\"\(ports.lowerBound)-\(ports.upperBound)\""
        return """
            [[expose]]
            protocol = "\(transport)"
            service = "\(service)"
            port = \(port)
            \(proxyProtocol ? "proxy-protocol = \"v2\"" : "")

            """
    }
}

/// Tables of a configuration file, as text: `["timeouts": ["udp-flow": "\"1s\""]]`.
public typealias Tables = [String: [String: String]]

extension Tables {
    var toml: String {
        sorted { $0.key < $1.key }.map { table, values in
            "[\(table)]\n" + values.sorted { $0.key < $1.key }.map { "\($0) = \($1)\n" }.joined()
        }.joined()
    }

    /// The same with what `other` says on top.
    func with(_ other: Tables) -> Tables {
        merging(other) { $0.merging($1) { $1 } }
    }
}
