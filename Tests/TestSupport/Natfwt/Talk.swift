// SPDX-License-Identifier: Apache-2.0

import Foundation

/// What one side of a conversation of `talk.py` came to.
public struct Talk: Decodable, Sendable {
    public struct Proxy: Decodable, Sendable {
        public let version: Int?
        public let command: Int?
        public let source: String?
        public let sourcePort: Int?
        public let target: String?
        public let targetPort: Int?
        public let error: String?
    }

    public let sent: Int
    public let received: Int
    /// SHA-256 of what was received.
    public let sha256: String
    /// How the receiving ended: eof, reset, timeout, open (nobody asked).
    public let end: String
    /// How the sending ended: nil where all was sent.
    public let failed: String?
    public let peer: String
    public let local: [Local]?
    public let proxy: Proxy?

    /// The address and the port of a socket, which JSON has as a list of two kinds.
    public enum Local: Decodable, Sendable, Equatable {
        case address(String)
        case port(Int)

        public init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let port = try? value.decode(Int.self) {
                self = .port(port)
            } else {
                self = .address(try value.decode(String.self))
            }
        }
    }

    /// The last line of JSON in what a program printed.
    public static func last(in output: String) throws -> Talk { try all(in: output).last ?? none(output) }

    /// One for each conversation that a serving program had.
    public static func all(in output: String) throws -> [Talk] {
        try output.split(separator: "\n").filter { $0.hasPrefix("{") }.map {
            try JSONDecoder().decode(Talk.self, from: Data($0.utf8))
        }
    }

    private static func none(_ output: String) throws -> Talk { throw LabError("nothing told: \(output)") }

    /// The bytes that `send` sends, hashed.
    public static func expected(_ count: Int) async throws -> String {
        let child = try Child(
            "expected-\(getpid())", [Tool.python, "\(Lab.scripts)/talk.py", "expected", "\(count)"],
            directory: NSTemporaryDirectory())
        defer { child.removeOutput() }
        try await child.ended(within: .seconds(60))
        return child.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

extension Namespace {
    /// Starts a service that plays these steps with everyone who connects.
    public func serve(_ address: String = "::", port: Int, _ steps: String) async throws -> Child {
        let child = try start(script: "talk", ["serve", address, "\(port)", steps])
        try await child.says("ready")
        return child
    }

    /// Plays these steps as a visitor.
    public func talk(
        to address: String, port: Int, _ steps: String, within deadline: Duration = .seconds(30)
    ) async throws -> Talk {
        let result = try await run(script: "talk", ["connect", address, "\(port)", steps], within: deadline)
        guard result.code == 0 else { throw LabError("talk: \(result)") }
        return try Talk.last(in: result.output)
    }
}
