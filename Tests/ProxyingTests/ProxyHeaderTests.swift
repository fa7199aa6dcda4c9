// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Proxying

private func address(_ text: String) throws -> TransportAddress { try #require(TransportAddress(text)) }

private let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]

/// One header and the bytes that it is on the wire.
struct Vector: Sendable, CustomTestStringConvertible {
    let name: String
    let transport: ProxyHeader.Transport
    let source: String
    let destination: String
    let bytes: [UInt8]
    /// What is read back, where it differs from what was written.
    var read: (source: String, destination: String)?

    var testDescription: String { name }

    func header() throws -> ProxyHeader {
        .proxied(transport, source: try address(source), destination: try address(destination))
    }

    func headerRead() throws -> ProxyHeader {
        .proxied(
            transport, source: try address(read?.source ?? source),
            destination: try address(read?.destination ?? destination))
    }

    private static let documentation: [UInt8] = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    private static let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]

    static let all: [Vector] = [
        Vector(
            name: "TCP over IPv4, as haproxy writes it", transport: .stream, source: "172.19.0.1:42578",
            destination: "172.19.0.3:80",
            bytes: signature + [0x21, 0x11, 0, 12, 172, 19, 0, 1, 172, 19, 0, 3, 0xA6, 0x52, 0, 80]),
        Vector(
            name: "UDP over IPv4", transport: .datagram, source: "192.0.2.1:65535", destination: "198.51.100.2:1",
            bytes: signature + [0x21, 0x12, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xFF, 0xFF, 0, 1]),
        Vector(
            name: "TCP over IPv6", transport: .stream, source: "[2001:db8::1]:258", destination: "[2001:db8::2]:443",
            bytes: signature + [0x21, 0x21, 0, 36] + documentation + [1] + documentation + [2, 1, 2, 1, 0xBB]),
        Vector(
            name: "UDP over IPv6", transport: .datagram, source: "[2001:db8::1]:0", destination: "[2001:db8::2]:53",
            bytes: signature + [0x21, 0x22, 0, 36] + documentation + [1] + documentation + [2, 0, 0, 0, 53]),
        Vector(
            name: "IPv4 in IPv6 form on both sides is IPv4", transport: .stream, source: "[::ffff:192.0.2.1]:7",
            destination: "[::ffff:192.0.2.2]:8",
            bytes: signature + [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 8],
            read: ("192.0.2.1:7", "192.0.2.2:8")),
        Vector(
            name: "mixed families are IPv6", transport: .stream, source: "192.0.2.1:7", destination: "[2001:db8::2]:8",
            bytes: signature + [0x21, 0x21, 0, 36] + mapped + [192, 0, 2, 1] + documentation + [2, 0, 7, 0, 8],
            read: ("[::ffff:192.0.2.1]:7", "[2001:db8::2]:8")),
    ]
}

/// Steele, Lea and Flood's SplitMix64: the same numbers from the same seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

@Suite struct ProxyHeaderTests {
    @Test(arguments: Vector.all) func writesExactBytes(_ vector: Vector) throws {
        #expect(try vector.header().bytes == vector.bytes)
    }

    @Test func writesLocal() {
        #expect(ProxyHeader.local.bytes == signature + [0x20, 0, 0, 0])
    }

    @Test(arguments: Vector.all) func readsWhatItWrites(_ vector: Vector) throws {
        let parsed = try #require(try ProxyHeader.parse(stream: vector.bytes.rawSpan))
        #expect(parsed.header == (try vector.headerRead()))
        #expect(parsed.size == vector.bytes.count)
        #expect(try ProxyHeader.parse(datagram: vector.bytes.rawSpan).header == parsed.header)
    }

    @Test(arguments: Vector.all) func leavesWhatFollows(_ vector: Vector) throws {
        let bytes = vector.bytes + Array("GET / HTTP/1.1\r\n".utf8)
        #expect(try ProxyHeader.parse(stream: bytes.rawSpan)?.size == vector.bytes.count)
    }

    @Test(arguments: Vector.all) func asksForMoreAtEveryTruncation(_ vector: Vector) throws {
        for count in 0..<vector.bytes.count {
            let part = Array(vector.bytes.prefix(count))
            #expect(try ProxyHeader.parse(stream: part.rawSpan) == nil, "\(count) bytes")
            #expect(throws: ProxyHeaderError.truncated, "\(count) bytes") {
                try ProxyHeader.parse(datagram: part.rawSpan)
            }
        }
    }

    /// What is no header is refused at its first wrong byte, however few are there.
    @Test(arguments: 0..<12) func refusesAnotherSignature(at index: Int) {
        var bytes = signature
        bytes[index] ^= 1
        for count in index + 1...12 {
            #expect(throws: ProxyHeaderError.noSignature) {
                try ProxyHeader.parse(stream: Array(bytes.prefix(count)).rawSpan)
            }
        }
    }

    @Test func refusesVersion1AndPlainHTTP() {
        for text in ["PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "GET / HTTP/1.1\r\n\r\n", "P"] {
            #expect(throws: ProxyHeaderError.noSignature) { try ProxyHeader.parse(stream: Array(text.utf8).rawSpan) }
        }
    }

    @Test(arguments: UInt8.min...UInt8.max) func judgesVersionAndCommand(_ byte: UInt8) {
        let bytes = signature + [byte]
        switch byte {
        case 0x20, 0x21: #expect(throws: Never.self) { try ProxyHeader.parse(stream: bytes.rawSpan) }
        case 0x22...0x2F:
            #expect(throws: ProxyHeaderError.unknownCommand(byte & 0xF)) {
                try ProxyHeader.parse(stream: bytes.rawSpan)
            }
        default:
            #expect(throws: ProxyHeaderError.unknownVersion(byte >> 4)) { try ProxyHeader.parse(stream: bytes.rawSpan) }
        }
    }

    @Test(arguments: UInt8.min...UInt8.max) func judgesFamilyAndTransport(_ byte: UInt8) throws {
        let bytes = signature + [0x21, byte, 0, 216] + [UInt8](repeating: 0, count: 216)
        switch (byte >> 4, byte & 0xF) {
        case (4..., _):
            #expect(throws: ProxyHeaderError.unknownFamily(byte >> 4)) { try ProxyHeader.parse(stream: bytes.rawSpan) }
        case (_, 3...):
            #expect(throws: ProxyHeaderError.unknownTransport(byte & 0xF)) {
                try ProxyHeader.parse(stream: bytes.rawSpan)
            }
        case (1...2, 1...2):
            guard case .proxied = try ProxyHeader.parse(stream: bytes.rawSpan)?.header else {
                Issue.record("no addresses in \(byte)")
                return
            }
        default: #expect(try ProxyHeader.parse(stream: bytes.rawSpan)?.header == .local)
        }
    }

    /// LOCAL: the block and its family are discarded, however they look.
    @Test(arguments: UInt8.min...UInt8.max) func localIgnoresTheBlock(_ familyAndTransport: UInt8) throws {
        let bytes = signature + [0x20, familyAndTransport, 0, 5, 1, 2, 3, 4, 5]
        let parsed = try #require(try ProxyHeader.parse(stream: bytes.rawSpan))
        #expect(parsed == (.local, 21))
        for count in 0..<21 {
            #expect(try ProxyHeader.parse(stream: Array(bytes.prefix(count)).rawSpan) == nil)
        }
    }

    @Test(arguments: [(UInt8(0x11), 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)])
    func refusesABlockTooShortForItsAddresses(_ familyAndTransport: UInt8, _ needed: Int) {
        for length in 0..<needed {
            let bytes = signature + [0x21, familyAndTransport, 0, UInt8(length)]
            #expect(throws: ProxyHeaderError.addressesTooShort(length)) { try ProxyHeader.parse(stream: bytes.rawSpan) }
        }
    }

    @Test func refusesALengthOverTheBoundBeforeTheBlockComes() {
        let bytes = signature + [0x21, 0x11, 0xFF, 0xFF]
        #expect(throws: ProxyHeaderError.tooLong(65_551, bound: 2_048)) { try ProxyHeader.parse(stream: bytes.rawSpan) }
        #expect(throws: Never.self) { try ProxyHeader.parse(stream: bytes.rawSpan, bound: 65_551) }
    }

    @Test func skipsVectorsAndAsksForMoreUntilAllAreThere() throws {
        let plain = Vector.all[0]
        let vectors: [UInt8] = [0x04, 0, 0, 0x01, 0, 2, 0x68, 0x32, 0xE0, 0, 1, 9]
        var bytes = plain.bytes + vectors
        bytes[15] = UInt8(12 + vectors.count)
        let parsed = try #require(try ProxyHeader.parse(stream: (bytes + [1, 2, 3]).rawSpan))
        #expect(parsed == (try plain.header(), bytes.count))
        for count in 0..<bytes.count {
            #expect(try ProxyHeader.parse(stream: Array(bytes.prefix(count)).rawSpan) == nil)
        }
    }

    @Test(arguments: [[0x04], [0x04, 0], [0x04, 0, 1], [0x04, 0xFF, 0xFF, 1], [0x04, 0, 0, 0x04]] as [[UInt8]])
    func refusesAVectorThatRunsOver(_ vectors: [UInt8]) {
        var bytes = Vector.all[0].bytes + vectors
        bytes[15] = UInt8(12 + vectors.count)
        // What follows the header must not be taken for the vector's rest.
        bytes += [UInt8](repeating: 0, count: 70_000)
        #expect(throws: ProxyHeaderError.malformedVector) { try ProxyHeader.parse(stream: bytes.rawSpan) }
    }

    @Test(arguments: [1, 2, 3, UInt64.random(in: 4...UInt64.max)]) func neverTrapsOnRubbish(seed: UInt64) {
        var random = SplitMix(state: seed)
        for _ in 0..<5_000 {
            var bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let kept = Int.random(in: 0...16, using: &random)
            bytes.replaceSubrange(0..<min(kept, bytes.count), with: Vector.all[0].bytes.prefix(min(kept, bytes.count)))
            let parsed = try? ProxyHeader.parse(stream: bytes.rawSpan)
            #expect((parsed?.size ?? 0) <= bytes.count, "\(bytes)")
        }
    }

    @Test func errorsReadWell() {
        let errors: [ProxyHeaderError] = [
            .noSignature, .unknownVersion(3), .unknownCommand(2), .unknownFamily(4), .unknownTransport(3),
            .addressesTooShort(4), .tooLong(9_000, bound: 2_048), .malformedVector, .truncated,
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
    }
}
