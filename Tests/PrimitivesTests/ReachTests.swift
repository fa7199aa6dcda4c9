// SPDX-License-Identifier: Apache-2.0

import Primitives
import Testing

/// What counts as the public Internet, after the IANA special-purpose address registries.
@Suite struct ReachTests {
    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
        "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
        "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
        "::ffff:8.8.8.8", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1",
        "2003::1", "2606:4700::1111", "2a00:1450::1", "3ffe::1", "3fff:1000::1",
    ])
    func isGlobal(text: String) throws { #expect(try #require(IPAddress(text)).isGlobal) }

    @Test(arguments: [
        // The first and the last of each range of IPv4.
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0",
        "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0",
        "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.192", "192.0.0.255", "192.0.2.0", "192.0.2.255",
        "192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255",
        "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255", "224.0.0.0", "239.255.255.255", "240.0.0.0",
        "255.255.255.254", "255.255.255.255",
        // This host, a link, a site, many hosts.
        "::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fdff::1", "ff00::1", "ff02::1",
        "ff0e::1",
        // IPv4 in IPv6: judged by the address inside, or not global in any case.
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::127.0.0.1", "::8.8.8.8",
        "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
        "64:ff9b:1:ffff::808:808", "2002::1", "2002:7f00:1::1", "2002:808:808::1",
        // Protocols' own: Teredo, benchmarking, ORCHID, documentation, discard, segment routing.
        "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1",
        "2001:2f:ffff::1", "2001:1ff:ffff::1", "2001:db8::1", "2001:db8:ffff::1", "3fff::1", "3fff:fff:ffff::1",
        "100::1", "100:0:0:1::1", "5f00::1",
        // What nobody has been given yet.
        "1fff::1", "4000::1", "8000::1", "a000::1", "e000::1", "fe00::1",
    ])
    func isNotGlobal(text: String) throws { #expect(try !#require(IPAddress(text)).isGlobal) }

    /// A scope means one link.
    @Test func whatHasAScopeIsNotGlobal() {
        #expect(!IPAddress(v6: 0x2606_4700 << 96 | 1, scope: 1).isGlobal)
        #expect(IPAddress(v6: 0x2606_4700 << 96 | 1).isGlobal)
    }

    @Test(arguments: [
        ("64:ff9b::7f00:1", "127.0.0.1"), ("64:ff9b::808:808", "8.8.8.8"), ("64:ff9b:1::7f00:1", nil),
        ("64:ff9b::1:0:0", nil), ("::127.0.0.1", nil), ("127.0.0.1", nil),
    ])
    func addressesBehindATranslator(text: String, inner: String?) throws {
        #expect(try #require(IPAddress(text)).translated?.description == inner)
    }
}

@Suite struct AddressPrefixTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.0.0.0/8", "10.255.255.255", "11.0.0.0"), ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"), ("192.0.2.1/32", "192.0.2.1", "192.0.2.1", "192.0.2.0"),
        ("192.0.2.128/25", "192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
        ("10.0.0.0/8", "10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"), ("::/0", "::/0", "ff02::1", "127.0.0.1"),
        ("::/0", "::/0", "::1", "::ffff:1.2.3.4"), ("2001:db8::/32", "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::1", "::1", "::1", "::2"), ("fe80::/10", "fe80::/10", "fe80::1", "fec0::1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3", "11.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3", "::ffff:10.1.2.3", "10.1.2.4"),
    ])
    func texts(text: String, printed: String, inside: String, outside: String) throws {
        let prefix = try #require(AddressPrefix(text))
        #expect(prefix.description == printed)
        #expect(AddressPrefix(printed) == prefix)
        #expect(prefix.contains(try #require(IPAddress(inside))))
        #expect(prefix.contains(prefix.address))
        #expect(!prefix.contains(try #require(IPAddress(outside))))
    }

    /// Nobody can tell what a prefix with more bits than its length means.
    @Test(arguments: [
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8/8",
        "10.0.0.0/ 8", "10.0.0.0/8 ", "10.0.0.0/٨", "10.0.0.0/0008", "10.0.0.0/99999999999999999999", "10/8",
        "10.0.0/8",
        "10.0.0.1/8", "0.0.0.1/0", "10.0.0.0/255.0.0.0", "2001:db8::/129", "2001:db8::1/32", "::1/0", "[::1]/128",
        "fe80::1%1", "fe80::%1/10", "::ffff:10.0.0.0/95", "::ffff:10.0.0.0/96", "::ffff:10.0.0.0/8", "localhost",
        "example.org/24", "127.1/32", "0x7f000001",
    ])
    func otherTextsAreRefused(text: String) { #expect(AddressPrefix(text) == nil) }
}

@Suite struct ResolvableTests {
    /// Also what a resolver takes for an address in an old form: what it answers is judged.
    @Test(arguments: [
        "example.org", "example.org.", "a", "127.1", "0x7f000001", "2130706433", "0", "my_host", "-x", "x-",
        "localhost",
        "1.2.3.4",
    ])
    func names(text: String) { #expect(HostAndPort.isResolvable(text)) }

    @Test(arguments: [
        "", ".", "..", "a..b", ".a", "a b", "a\0b", "a/b", "a:b", "::1", "[::1]", "a@b", "höst", "a%eth0", "a\n", "*",
        String(repeating: "a", count: 64), String(repeating: "a.", count: 127) + "a",
    ])
    func otherTexts(text: String) { #expect(!HostAndPort.isResolvable(text)) }
}
