// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// A small Internet out of network namespaces, with a home behind a real NAT:
///
///      home ───────────── router ════════════ internet ──────────── relay
///      192.168.19.10  lan  NAT,   wan           │    198.51.100.0/24  203.0.113.10
///      2001:db8:19::10    filter 100.64.0.2    │                     2001:db8:113::10
///                                             └──────────────────── visitor
///                                                                   198.51.100.10
///                                                                   2001:db8:51::10
///
/// With `neighbour` there is a second home, an office behind a NAT of its own:
///
///      office ─────────── gate ══════════════ internet
///      192.168.20.10  lan  NAT,   wan
///      2001:db8:20::10    filter 100.64.1.2
///
/// With `sharesLAN` the office stands on home's own network instead, as 192.168.19.20 and 2001:db8:19::20.
///
/// IPv4 is translated at the router, IPv6 is filtered there; what nobody at home asked for is dropped. Faults are made
/// in `internet` (blackholes, resets, loss) or at the router's links. With `wire`, a program between router and internet
/// delays and loses frames. No interface joins the machine's own network.
public final class Lab: Sendable {
    public let home: Namespace
    public let router: Namespace
    public let internet: Namespace
    public let relay: Namespace
    public let visitor: Namespace
    let wire: Namespace?
    /// The second home, where there is one.
    public let office: Namespace?
    /// That router, where there is one.
    public let gate: Namespace?
    public let nat: NATKind
    /// A directory of its own for configuration, keys and output; gone at the end.
    public let directory: String

    /// The router's address as the Internet sees it.
    public static let wanAddress = "100.64.0.2"

    private init(nat: NATKind, wired: Bool, neighbour: Bool, sharesLAN: Bool) throws {
        let number = Lab.counter.add(1, ordering: .relaxed).newValue
        let directory = "\(NSTemporaryDirectory())/natfwt-lab-\(getpid())-\(number)"
            .replacingOccurrences(of: "//", with: "/")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        func machine(_ role: String, _ address: String, _ address6: String) -> Namespace {
            Namespace(
                name: "\(Leftovers.prefix)-\(number)-\(role)", address: address, address6: address6,
                directory: directory)
        }
        self.nat = nat
        self.directory = directory
        home = machine("home", "192.168.19.10", "2001:db8:19::10")
        router = machine("router", Lab.wanAddress, "2001:db8:18::2")
        internet = machine("internet", "100.64.0.1", "2001:db8:18::1")
        relay = machine("relay", "203.0.113.10", "2001:db8:113::10")
        visitor = machine("visitor", "198.51.100.10", "2001:db8:51::10")
        wire = wired ? machine("wire", "", "") : nil
        office =
            if sharesLAN { machine("office", "192.168.19.20", "2001:db8:19::20") } else if neighbour {
                machine("office", "192.168.20.10", "2001:db8:20::10")
            } else { nil }
        gate = neighbour ? machine("gate", "100.64.1.2", "2001:db8:21::2") : nil
    }

    private static let counter = Atomic<Int>(0)

    var machines: [Namespace] { [home, router, internet, relay, visitor] + [wire, office, gate].compactMap(\.self) }

    /// The folder of the python programs that play services, visitors and wires.
    public static let scripts: String = {
        let tests = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return tests.appendingPathComponent("NetworkTests/Support").path
    }()

    // MARK: Life

    /// Whether a lab can be built here: root, `ip`, `nft`, and a kernel that lets us. For `.enabled(if:)`.
    public static let isAvailable: Bool = {
        guard geteuid() == 0, Tool.has("ip", "nft", "python3", "prlimit") else { return false }
        Leftovers.sweep()
        return Leftovers.canMakeNamespaces()
    }()

    /// Builds a lab, hands it to `body`, and takes it down again whatever happens. Where the body throws, the last
    /// lines of every program in the lab go with the error.
    public static func run<Value>(
        nat: NATKind = .linux, wired: Bool = false, neighbour: Bool = false, sharesLAN: Bool = false,
        _ body: (Lab) async throws -> Value
    ) async throws -> Value {
        let lab = try Lab(nat: nat, wired: wired, neighbour: neighbour && !sharesLAN, sharesLAN: sharesLAN)
        return try await withCleanup {
            try await lab.build()
            do {
                return try await body(lab)
            } catch {
                throw LabError("\(error)\(lab.machines.map { $0.tails() }.joined())")
            }
        } cleanup: {
            await lab.demolish()
        }
    }

    private func build() async throws {
        try await makeNamespaces()
        try await makeLinks()
        try await giveAddresses()
        try await router.nft(NATKind.filter + nat.rules(wanAddress: Lab.wanAddress))
        if let gate { try await gate.nft(NATKind.filter + nat.rules(wanAddress: gate.address)) }
        try await internet.nft(Lab.faultTable)
        try nameHosts()
        if let wire { try await startWire(in: wire) }
    }

    private func demolish() async {
        for machine in machines { await machine.destroyChildren() }
        for machine in machines { await Leftovers.remove(machine.name) }
        if let keep = ProcessInfo.processInfo.environment["NATFWT_KEEP_LOGS"] {
            try? FileManager.default.createDirectory(atPath: keep, withIntermediateDirectories: true)
            let target = "\(keep)/\((directory as NSString).lastPathComponent)"
            try? FileManager.default.moveItem(atPath: directory, toPath: target)
        } else {
            try? FileManager.default.removeItem(atPath: directory)
        }
    }

    // MARK: Building

    private func makeNamespaces() async throws {
        for machine in machines {
            try await Tool.run(["ip", "netns", "add", machine.name], directory: directory)
            // Addresses are usable at once (no duplicate detection), and routers forward.
            let forward = machine === router || machine === internet || machine === gate
            let switches = [
                "ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0", "ipv6/conf/all/disable_ipv6=0",
                "ipv6/conf/default/disable_ipv6=0", "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0",
                "ipv4/ip_forward=\(forward ? 1 : 0)", "ipv6/conf/all/forwarding=\(forward ? 1 : 0)",
            ]
            let script = switches.map { pair in
                let parts = pair.split(separator: "=")
                return "echo \(parts[1]) > /proc/sys/net/\(parts[0])"
            }
            try await machine.check(["sh", "-ec", script.joined(separator: "\n")])
        }
    }

    private func makeLinks() async throws {
        let isShared = office != nil && gate == nil
        var links = [
            (home, "eth0", router, isShared ? "port1" : "lan"), (relay, "eth0", internet, "relay"),
            (visitor, "eth0", internet, "visitor"),
        ]
        if let office, isShared { links.append((office, "eth0", router, "port2")) }
        if let wire {
            links += [(router, "wan", wire, "left"), (internet, "home", wire, "right")]
        } else {
            links += [(router, "wan", internet, "home")]
        }
        if let office, let gate { links += [(office, "eth0", gate, "lan"), (gate, "wan", internet, "office")] }
        for (left, leftName, right, rightName) in links {
            try await Tool.run(
                [
                    "ip", "link", "add", leftName, "netns", left.name, "type", "veth", "peer", "name", rightName,
                    "netns", right.name,
                ], directory: directory)
        }
        if isShared { try await makeSwitch() }
    }

    /// The router's side of home's network becomes a switch with two ports, whose own traffic no filter sees.
    private func makeSwitch() async throws {
        try await Tool.run(["ip", "-n", router.name, "link", "add", "lan", "type", "bridge"], directory: directory)
        try await router.configure(["port1", "port2"].map { "link set \($0) master lan up" })
        let filter = "/proc/sys/net/bridge/bridge-nf-call-"
        try await router.check(
            ["sh", "-c", "for kind in iptables ip6tables; do [ ! -e \(filter)$kind ] || echo 0 > \(filter)$kind; done"])
    }

    private func giveAddresses() async throws {
        try await home.configure(
            Lab.link("lo", []) + Lab.link("eth0", ["192.168.19.10/24", "2001:db8:19::10/64"])
                + Lab.defaultRoutes("192.168.19.1", "2001:db8:19::1"))
        try await router.configure(
            Lab.link("lo", []) + Lab.link("lan", ["192.168.19.1/24", "2001:db8:19::1/64"])
                + Lab.link("wan", ["100.64.0.2/24", "2001:db8:18::2/64"])
                + Lab.defaultRoutes("100.64.0.1", "2001:db8:18::1"))
        var routes = ["route replace 2001:db8:19::/64 via 2001:db8:18::2"]
        if nat == .routed { routes.append("route replace 192.168.19.0/24 via 100.64.0.2") }
        try await internet.configure(
            Lab.link("lo", []) + Lab.link("home", ["100.64.0.1/24", "2001:db8:18::1/64"])
                + Lab.link("relay", ["203.0.113.1/24", "2001:db8:113::1/64"])
                + Lab.link("visitor", ["198.51.100.1/24", "2001:db8:51::1/64"]) + routes)
        try await relay.configure(
            Lab.link("lo", []) + Lab.link("eth0", ["203.0.113.10/24", "2001:db8:113::10/64"])
                + Lab.defaultRoutes("203.0.113.1", "2001:db8:113::1"))
        try await visitor.configure(
            Lab.link("lo", []) + Lab.link("eth0", ["198.51.100.10/24", "2001:db8:51::10/64"])
                + Lab.defaultRoutes("198.51.100.1", "2001:db8:51::1"))
        if let wire { try await wire.configure(["link set left up promisc on", "link set right up promisc on"]) }
        try await giveNeighbourAddresses()
    }

    private func giveNeighbourAddresses() async throws {
        guard let office else { return }
        guard let gate else {
            return try await office.configure(
                Lab.link("lo", []) + Lab.link("eth0", ["\(office.address)/24", "\(office.address6)/64"])
                    + Lab.defaultRoutes("192.168.19.1", "2001:db8:19::1"))
        }
        try await office.configure(
            Lab.link("lo", []) + Lab.link("eth0", ["192.168.20.10/24", "2001:db8:20::10/64"])
                + Lab.defaultRoutes("192.168.20.1", "2001:db8:20::1"))
        try await gate.configure(
            Lab.link("lo", []) + Lab.link("lan", ["192.168.20.1/24", "2001:db8:20::1/64"])
                + Lab.link("wan", ["100.64.1.2/24", "2001:db8:21::2/64"])
                + Lab.defaultRoutes("100.64.1.1", "2001:db8:21::1"))
        try await internet.configure(
            Lab.link("office", ["100.64.1.1/24", "2001:db8:21::1/64"])
                + ["route replace 2001:db8:20::/64 via 2001:db8:21::2"]
                + (nat == .routed ? ["route replace 192.168.20.0/24 via 100.64.1.2"] : []))
    }

    private static func link(_ name: String, _ addresses: [String]) -> [String] {
        ["link set \(name) up"]
            + addresses.map { "addr replace \($0) dev \(name)" + ($0.contains(":") ? " nodad" : "") }
    }

    private static func defaultRoutes(_ gateway: String, _ gateway6: String) -> [String] {
        ["route replace default via \(gateway)", "route replace default via \(gateway6)"]
    }

    /// Host names of the lab: `relay4` and `relay6` have one address, `relay` has both. Nothing is asked of a resolver.
    private func nameHosts() throws {
        for machine in machines {
            try machine.hosts([
                "\(relay.address) relay.test relay4.test", "\(relay.address6) relay.test relay6.test",
                "\(visitor.address) visitor.test", "\(visitor.address6) visitor.test",
            ])
            try machine.etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        }
    }
}
