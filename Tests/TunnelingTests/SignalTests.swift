// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@testable import Tunneling

/// SIGNAL (tunnel protocol, "Direct paths"): where a node takes direct connections.
@Suite struct SignalTests {
    private static let candidates = ["192.0.2.7:1", "[2001:db8::7]:65535", "10.0.0.1:443"]
        .compactMap { TransportAddress($0) }

    private static func frame(_ payload: [UInt8], flags: UInt8 = 0x80) -> [UInt8] {
        HostileTunnelTests.frame(17, flags: flags, payload)
    }

    @Test(arguments: [0, 1, 3])
    func arrivesAsItWasSent(count: Int) throws {
        let pair = try TunnelPair()
        let signal = Signal(candidates: Array(Self.candidates.prefix(count)))
        pair.dialer.tunnel.signal(signal)
        pair.acceptor.tunnel.signal(signal)
        try pair.settle()
        #expect(pair.acceptor.signals == [signal] && pair.dialer.signals == [signal])
    }

    /// What does not know of it has to know that it may skip it.
    @Test func mayBeSkipped() throws {
        let pair = try TunnelPair()
        pair.dialer.tunnel.signal(Signal(candidates: Self.candidates))
        let bytes = pair.dialer.output(now: pair.now)
        #expect(Array(bytes.prefix(2)) == [17, 0x80])
        #expect(bytes[8...].prefix(8) == [3, 4, 192, 0, 2, 7, 0, 1])
    }

    @Test func noMoreThanAllowedAreSent() throws {
        let pair = try TunnelPair()
        let many = (1...20).map { TransportAddress(IPAddress(v4: 0x0A00_0000 + $0), port: 9) }
        pair.dialer.tunnel.signal(Signal(candidates: many))
        try pair.settle()
        #expect(pair.acceptor.signals.first?.candidates == Array(many.prefix(16)))
    }

    /// A later version's bytes behind the last field.
    @Test func moreBytesAreIgnored() throws {
        let pair = try TunnelPair()
        try pair.acceptor.input(Self.frame([1, 4, 192, 0, 2, 7, 0, 1, 9, 9, 9]), now: pair.now)
        #expect(pair.acceptor.signals == [Signal(candidates: [Self.candidates[0]])])
    }

    private static let broken: [(name: String, payload: [UInt8])] = [
        ("nothing", []),
        ("seventeen", [17] + (0..<17).flatMap { [4, 192, 0, 2, $0, 0, 1] as [UInt8] }),
        ("as many as can be said", [255]),
        ("fewer than announced", [2, 4, 192, 0, 2, 7, 0, 1]),
        ("an address that ends early", [1, 6, 0x20, 1]),
        ("a host", [1, 3, 0, 1, 0x61, 0, 80]),
        ("none", [1, 0]),
        ("an unknown kind of address", [1, 5, 192, 0, 2, 7, 0, 1]),
    ]

    /// That it may be skipped does not make it right.
    @Test(arguments: broken, [0, 0x80] as [UInt8])
    func brokenEndsTheTunnel(_ this: (name: String, payload: [UInt8]), flags: UInt8) throws {
        let pair = try TunnelPair()
        #expect(throws: TunnelError.self, "\(this.name)") {
            try pair.acceptor.input(Self.frame(this.payload, flags: flags), now: pair.now)
        }
        #expect(pair.acceptor.signals.isEmpty)
    }

    /// Only the introduction may be spoken before it is over.
    @Test func tooEarlyEndsTheTunnel() throws {
        let pair = try TunnelPair(introduced: false)
        #expect(throws: TunnelError.self) { try pair.acceptor.input(Self.frame([0]), now: pair.now) }
        pair.dialer.tunnel.introduce(Hello(nodeName: "home", limits: TunnelLimits()), now: pair.now)
        #expect(throws: TunnelError.self) { try pair.dialer.input(Self.frame([0]), now: pair.now) }
        #expect(pair.acceptor.signals.isEmpty && pair.dialer.signals.isEmpty)
    }
}
