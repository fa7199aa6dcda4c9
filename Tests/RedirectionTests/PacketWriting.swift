// SPDX-License-Identifier: Apache-2.0

@testable import Redirection

/// Makes packets as a test needs them: right, unless it says what is wrong.
struct TestPacket {
    var source: UInt128 = TestPacket.here
    var destination: UInt128 = TestPacket.there
    var version: UInt8 = 6
    /// Headers between IPv6's own and the transport's, each without its next header.
    var extensions: [(kind: UInt8, rest: [UInt8])] = []
    var transport: UInt8 = 6
    var body: [UInt8]
    /// Bytes that the header says more, or less, than there are.
    var lie = 0

    static let here: UInt128 = 0x2001_0021 << 96 | 1
    static let there: UInt128 = 0x2001_0021 << 96 | 2
    static let elsewhere: UInt128 = 0x2001_0021 << 96 | 3

    static func tcp(
        _ source: UInt16, _ destination: UInt16, flags: TCPFlags = .ack, offset: UInt8 = 5, payload: Int = 0
    ) -> TestPacket {
        let ports = words(source, destination)
        return TestPacket(
            body: ports + [UInt8](repeating: 0, count: 8) + [offset << 4, flags.rawValue] + [0, 0, 0, 0, 0, 0]
                + [UInt8](repeating: 1, count: Int(offset > 5 ? offset - 5 : 0) * 4 + payload))
    }

    static func udp(_ source: UInt16, _ destination: UInt16, payload: [UInt8] = []) -> TestPacket {
        TestPacket(
            transport: 17, body: words(source, destination, UInt16(clamping: 8 + payload.count), 0) + payload)
    }

    static func icmp(_ type: UInt8, identifier: UInt16 = 7, payload: [UInt8] = []) -> TestPacket {
        TestPacket(transport: 58, body: [type, 0, 0, 0] + words(identifier, 1) + payload)
    }

    /// The other way round.
    func back() -> TestPacket {
        var other = self
        (other.source, other.destination) = (destination, source)
        return other
    }

    func from(_ source: UInt128, to destination: UInt128) -> TestPacket {
        var other = self
        (other.source, other.destination) = (source, destination)
        return other
    }

    var bytes: [UInt8] {
        var payload: [UInt8] = []
        let kinds = extensions.map(\.kind) + [transport]
        for (index, header) in extensions.enumerated() { payload += [kinds[index + 1]] + header.rest }
        payload += body
        return [version << 4, 0, 0, 0] + Self.words(UInt16(clamping: payload.count + lie)) + [kinds[0], 64]
            + Self.bytes(source) + Self.bytes(destination) + payload
    }

    func parsed() throws -> IPv6Packet { try IPv6Packet(bytes.span.bytes) }

    static func words(_ words: UInt16...) -> [UInt8] {
        words.flatMap { [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }

    static func bytes(_ value: UInt128) -> [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: value >> UInt128(8 * (15 - $0))) }
    }
}
