// SPDX-License-Identifier: Apache-2.0

/// What a home router does to addresses, in the terms of RFC 4787.
public enum NATKind: String, Sendable, CaseIterable {
    /// No NAT: the home host's address is reachable, behind a stateful filter.
    case routed
    /// Linux `masquerade`: keeps the port where it is free, one mapping a flow.
    case linux
    /// Endpoint-independent mapping, address-and-port-dependent filtering.
    case portRestricted
    /// Address-and-port-dependent mapping with random ports: each destination sees another port.
    case symmetric

    /// The nftables table that does it, for a router with interfaces `lan` and `wan`.
    func rules(wanAddress: String) -> String {
        switch self {
        case .routed: ""
        case .linux: Self.translate("masquerade")
        case .symmetric: Self.translate("masquerade fully-random")
        case .portRestricted: Self.endpointIndependent(wanAddress)
        }
    }

    private static func translate(_ rule: String) -> String {
        """
        table ip nat {
          chain post { type nat hook postrouting priority srcnat; policy accept;
            oifname "wan" \(rule)
          }
        }

        """
    }

    /// A translated source is remembered, and used again for every other destination.
    private static func endpointIndependent(_ wanAddress: String) -> String {
        """
        table ip nat {
          map own {
            type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
            flags dynamic,timeout; timeout 300s; size 65536;
          }
          chain post { type nat hook postrouting priority srcnat; policy accept;
            oifname != "wan" return
            snat ip to meta l4proto . ip saddr . th sport map @own
            snat ip to \(wanAddress)
          }
          chain learn { type filter hook postrouting priority srcnat + 10; policy accept;
            oifname "wan" meta l4proto { tcp, udp } ct direction original update @own \
        { meta l4proto . ct original ip saddr . ct original proto-src : ip saddr . th sport }
          }
        }

        """
    }

    /// The router's filter, both families: what nobody inside asked for is dropped, silently.
    static let filter = """
        table inet filter {
          chain input { type filter hook input priority filter; policy drop;
            ct state established,related accept
            iifname { "lan", "lo" } accept
            meta l4proto { icmp, ipv6-icmp } accept
          }
          chain forward { type filter hook forward priority filter; policy drop;
            ct state established,related accept
            iifname "lan" oifname "wan" accept
            meta l4proto ipv6-icmp accept
          }
        }

        """
}
