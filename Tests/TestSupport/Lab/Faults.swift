// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The way that packets travel between the home and everything else.
public enum Way: Sendable {
    case fromHome, toHome, both

    /// What nftables says of a packet on that way, in the namespace `internet`.
    var matches: [String] {
        switch self {
        case .fromHome: ["iifname \"home\""]
        case .toHome: ["oifname \"home\""]
        case .both: ["iifname \"home\"", "oifname \"home\""]
        }
    }
}

/// A fault that the network is told to have.
public enum Fault: Sendable {
    /// Every packet on that way vanishes, silently.
    case blackhole(Way)
    /// This share of the packets vanishes, each by its own luck.
    case loss(percent: Int, Way)
    /// Every TCP segment to or from this port of the relay or the visitor is answered with a reset to its sender.
    case reset(port: Int)
    /// Every packet on that way is answered with ICMP host unreachable.
    case unreachable(Way)

    var rules: [String] {
        switch self {
        case .blackhole(let way): way.matches.map { "\($0) drop" }
        case .loss(let percent, let way): way.matches.map { "\($0) numgen random mod 100 < \(percent) drop" }
        case .reset(let port):
            ["tcp dport \(port) reject with tcp reset", "tcp sport \(port) reject with tcp reset"]
        case .unreachable(let way):
            way.matches.map { "\($0) reject with icmpx type host-unreachable" }
        }
    }
}

extension Lab {
    /// Where faults are hooked in: everything that is forwarded between the lab's networks.
    static let faultTable = """
        table inet faults {
          chain forward { type filter hook forward priority filter; policy accept; }
        }

        """

    /// Adds a fault to the network; `heal` takes all of them away.
    public func inflict(_ fault: Fault) async throws {
        try await internet.nft(
            fault.rules.map { "add rule inet faults forward \($0)\n" }.joined())
    }

    /// Takes away every fault that `inflict` made.
    public func heal() async throws {
        try await internet.nft("flush chain inet faults forward\n")
    }

    /// Pulls the plug of an interface: the kernel drops its addresses and routes.
    public func unplug(_ interface: String, of machine: Namespace) async throws {
        try await Tool.run(["ip", "-n", machine.name, "link", "set", interface, "down"], directory: directory)
    }

    /// Plugs the machine's interfaces in again, with the addresses and routes that they had.
    public func replug(_ machine: Namespace) async throws { try await machine.reapply() }

    /// The router forgets every connection that it translates.
    public func forgetConnections() async throws {
        let result = try await router.run(script: "forget")
        guard result.code == 0 else { throw LabError("conntrack flush: \(result)") }
    }

    /// The router forgets a TCP connection that was idle for this long, and drops what comes after.
    public func forgetIdle(afterSeconds seconds: Int) async throws {
        try await router.check([
            "sh", "-ec",
            """
            echo \(seconds) > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
            echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
            """,
        ])
        try await router.nft("insert rule inet filter forward ct state invalid drop\n")
    }

    // MARK: The wire (only in a lab that was built `wired`)

    var wireSettings: String { "\(directory)/wire.json" }

    func startWire(in machine: Namespace) async throws {
        try setWire(delayMilliseconds: 0)
        let child = try machine.start(script: "wire", [wireSettings])
        try await child.says("ready")
    }

    /// What the wire does from the next frame on: delay and jitter each way, loss, duplication and corruption in percent.
    public func setWire(
        delayMilliseconds: Double, jitterMilliseconds: Double = 0, lossPercent: Double = 0,
        duplicatePercent: Double = 0, corruptPercent: Double = 0
    ) throws {
        let text = """
            {"delay": \(delayMilliseconds), "jitter": \(jitterMilliseconds), "loss": \(lossPercent), \
            "duplicate": \(duplicatePercent), "corrupt": \(corruptPercent)}
            """
        try text.write(toFile: wireSettings, atomically: true, encoding: .utf8)
    }
}
