// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("0.0.0.0", IPAddress.anyV4), ("127.0.0.1", .loopbackV4), ("255.255.255.255", IPAddress(v4: .max)),
        ("192.0.2.1", IPAddress(v4: 0xC000_0201)), ("::", .anyV6), ("::1", .loopbackV6),
        ("2001:db8::1", IPAddress(v6: 0x2001_0DB8 << 96 | 1)),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IPAddress(v6: .max)),
        ("::ffff:192.0.2.1", IPAddress(v6: 0xFFFF_C000_0201)),
        ("fe80::1%7", IPAddress(v6: 0xFE80 << 112 | 1, scope: 7)),
    ])
    func texts(text: String, address: IPAddress) {
        #expect(IPAddress(text) == address)
        #expect(IPAddress(address.description) == address)
        #expect(address.bytes.count == (address.family == .v4 ? 4 : 16))
    }

    /// Forms that other programs take for an address, and forms that nobody should.
    @Test(arguments: [
        "127.1", "0", "0x7f000001", "2130706433", "017700000001", "127.0.0.01", "127.0.0.1.", "0x7f.0.0.1", "127.0.1",
        "", " 127.0.0.1", "127.0.0.1 ", "127.0.0.256", "1.2.3.4.5", "1.2.3", "1.2.3.-4", "١.2.3.4", "127.0.0.1\0",
        "127.0.0.1\0.example.org", "::1\0", ":::", "::1::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "::g", "::12345",
        "[::1]", "::1%", "fe80::1%", "fe80::1%0", "fe80::1%no-such-interface", "fe80::1%+1", "fe80::1%1\0",
        "fe80::1%1%1", "fe80::1%4294967296", "::ffff:127.1", "::127.0.0", "localhost", "%1",
    ])
    func otherTextsAreRefused(text: String) { #expect(IPAddress(text) == nil) }

    @Test(arguments: [
        ("::ffff:127.0.0.1", "127.0.0.1"), ("::ffff:0:0", "0.0.0.0"), ("::127.0.0.1", "::127.0.0.1"),
        ("64:ff9b::7f00:1", "64:ff9b::7f00:1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1"),
    ])
    func canonical(text: String, canonical: String) throws {
        #expect(try #require(IPAddress(text)).canonical.description == canonical)
    }

    @Test(arguments: [
        ("127.0.0.1", true, false, false), ("127.255.255.255", true, false, false), ("126.0.0.1", false, false, false),
        ("::1", true, false, false), ("::", false, true, false), ("0.0.0.0", false, true, false),
        ("169.254.169.254", false, false, true), ("169.253.0.1", false, false, false),
        ("fe80::1%3", false, false, true), ("febf::1", false, false, true), ("fec0::1", false, false, false),
        ("::ffff:127.0.0.1", false, false, false),
    ])
    func kinds(text: String, isLoopback: Bool, isUnspecified: Bool, isLinkLocal: Bool) throws {
        let address = try #require(IPAddress(text))
        #expect(address.isLoopback == isLoopback)
        #expect(address.isUnspecified == isUnspecified)
        #expect(address.isLinkLocal == isLinkLocal)
    }

    @Test func familiesAreNeverEqual() { #expect(IPAddress(v4: 1) != IPAddress(v6: 1)) }
}

@Suite struct TransportAddressTests {
    @Test(arguments: ["192.0.2.1:443", "0.0.0.0:0", "[2001:db8::1]:65535", "[::]:1", "[fe80::1%7]:80"])
    func texts(text: String) throws {
        #expect(try #require(TransportAddress(text)).description == text)
    }

    @Test(arguments: [
        "", ":80", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1", "192.0.2.1:+1", "192.0.2.1: 1",
        "192.0.2.1:٣", "::1:80:", "[::1]", "[::1]80", "[::1:80", "[192.0.2.1]:80", "[]:80", "example.org:80",
        "127.1:80", "0x7f000001:80", "2130706433:80", "0:80", "[::1\0]:80", "192.0.2.1:80\0",
    ])
    func otherTextsAreRefused(text: String) { #expect(TransportAddress(text) == nil) }
}

@Suite struct HostAndPortTests {
    @Test(
        arguments: [
            ("example.org:443", "example.org", 443), ("192.0.2.1:1", "192.0.2.1", 1),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
            ("a:0", "a", 0), ("localhost.:80", "localhost.", 80), ("my_host:80", "my_host", 80),
            ("xn--bcher-kva.example:80", "xn--bcher-kva.example", 80), ("3com.example:80", "3com.example", 80),
            ("1.2.3.4.example:80", "1.2.3.4.example", 80), ("0x7f.example:80", "0x7f.example", 80),
        ] as [(String, String, UInt16)])
    func texts(text: String, host: String, port: UInt16) throws {
        let read = try #require(HostAndPort(text))
        #expect(read == HostAndPort(host: host, port: port))
        #expect(read.description == text)
    }

    @Test(arguments: [
        ("example.org", "example.org"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("[::1]", "::1"),
        ("fe80::1%7", "fe80::1%7"),
    ])
    func portMayBeLeftOut(text: String, host: String) {
        #expect(HostAndPort(text, defaultPort: 443) == HostAndPort(host: host, port: 443))
        #expect(HostAndPort(text) == nil)
    }

    /// A resolver would take the first row for addresses of this host; RFC 1123, 2.1: a name's last label is no number.
    @Test(arguments: [
        "127.1:80", "0:80", "0x7f000001:80", "2130706433:80", "0177.0.0.1:80", "127.0.0.1.:80", "0x7f.1:80", "0X7F:80",
        "127.0.0.0x1:80", "host.0x:80", "256.256.256.256:80", "1.2.3.4.5:80",
        "", ":", ":80", "host", "host:", "host:port", "host:99999", "host:1:2", "ho st:80", "ho\0st:80", "host\0:80",
        "-host:80", "host-:80", "a..b:80", ".:80", "höst:80", "[host]:80", "[127.0.0.1]:80", "http://host:80",
        "user@host:80", "host/path:80", "*:80",
    ])
    func otherTextsAreRefused(text: String) { #expect(HostAndPort(text) == nil) }

    @Test(arguments: [(63, true), (64, false)]) func labelsHaveALength(length: Int, isName: Bool) {
        #expect((HostAndPort(String(repeating: "a", count: length) + ".example:80") != nil) == isName)
    }

    @Test(arguments: [(253, true), (254, false), (100_000, false)]) func namesHaveALength(length: Int, isName: Bool) {
        let name = String(String(repeating: "a.", count: length).prefix(length - 1)) + "b"
        #expect((HostAndPort(name + ":80") != nil) == isName)
    }

    @Test func literalsKnowTheirAddress() {
        #expect(HostAndPort("192.0.2.1:80")?.address == TransportAddress("192.0.2.1:80"))
        #expect(HostAndPort("[::1]:80")?.address == TransportAddress("[::1]:80"))
        #expect(HostAndPort("example.org:80")?.address == nil)
    }
}
