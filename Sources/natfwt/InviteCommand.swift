// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Cryptography
import Glibc
import Identity
import Primitives
import Registry
import RelayServer
import Settings
import Telemetry

struct InviteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "On the relay: make an invite for a node, one line to hand to the other side.",
        discussion: """
            An invite is used once, and expires. Hand it over as you would a password. An open invite of the same name is withdrawn.
            """)

    @Argument(help: "What the node is called: 1 to 63 lower-case letters, digits and hyphens.")
    var name: String

    @OptionGroup var options: RelayOptions

    @Option(
        help:
            "What the node may expose, as tcp:20000-20100 or udp:53; may be given more than once. Default: any port from 1024 on."
    )
    var expose: [String] = []

    @Flag(help: "Let the node go out to other hosts through the relay, where [egress] of the settings lets nodes out.")
    var egress = false

    @OptionGroup var reach: ReachOptions

    @Option(help: "How long the invite can be used, as 24h, 30m or 7d.")
    var expires = "24h"

    @Option(
        help:
            "How nodes reach this relay, as HOST or HOST:PORT; may be given more than once. Default: public-address of the settings."
    )
    var address: [String] = []

    func run() throws {
        do { try say(try makeInvite().text) } catch let failure as StartFailure { throw fail(failure) }
    }

    private func makeInvite() throws(StartFailure) -> Invite {
        let settings = try options.settings()
        let name = try StartFailure.usage { () throws(NodeNameError) in try NodeName(self.name) }
        let permissions = try permissions()
        let relays = try relays(settings)
        guard let lifetime = lifetime(expires) else {
            throw StartFailure(
                status: .usage, message: "--expires \(expires): expected a time such as 30m, 24h or 7d")
        }
        let state = try RelayState(directory: settings.stateDirectory)
        var random = SecureRandom()
        let token = InviteToken(using: &random)
        guard let invite = Invite(relays: relays, relayID: state.key.id, token: token, name: name) else {
            throw StartFailure(
                status: .usage, message: "an invite holds 1 to \(Invite.maximumRelays) addresses of the relay")
        }
        let now = WallTime.now.seconds
        _ = try StartFailure.configuration { () throws(RegistryError) in
            try state.registry.createInvite(
                token, name: name, permissions: permissions, expiresAt: now + lifetime, now: now)
        }
        return invite
    }

    /// Without a file, and without the right to open port 443, the relay chose a port by itself.
    private var mayListenElsewhere: Bool { options.file == nil && !DefaultPlace.isRoot }

    private func permissions() throws(StartFailure) -> Permissions {
        var permissions = Permissions.standard
        if !expose.isEmpty { permissions.expose = try portRules(expose) }
        permissions.egress = egress
        permissions.reach = try reach.chosen() ?? .all
        return permissions
    }

    /// The relay's addresses: as given, or as in the settings.
    private func relays(_ settings: RelaySettings) throws(StartFailure) -> [HostAndPort] {
        let port = settings.listen.first?.port ?? 443
        if !address.isEmpty {
            return try address.map { text throws(StartFailure) in
                guard let host = HostAndPort(text, defaultPort: mayListenElsewhere ? nil : port) else {
                    let expected =
                        mayListenElsewhere ? "HOST:PORT, with the port that the relay listens on" : "HOST or HOST:PORT"
                    throw StartFailure(status: .usage, message: "--address \(text): expected \(expected)")
                }
                return host
            }
        }
        if !settings.publicAddress.isEmpty { return settings.publicAddress }
        throw StartFailure(
            status: .usage,
            message:
                "how do nodes reach this relay? Say --address relay.example.com:\(mayListenElsewhere ? RelayServer.fallbackPort : port) (the relay's own name or address), or "
                + "set public-address in \(options.file ?? DefaultPlace.relayFile)")
    }
}

/// What `--expose` says, each time that it is given.
func portRules(_ texts: [String]) throws(StartFailure) -> [PortRule] {
    try texts.map { text throws(StartFailure) in
        try StartFailure.usage { () throws(PortRuleError) in try PortRule(text) }
    }
}

/// Seconds of a time such as 30m, 24h or 7d.
func lifetime(_ text: String) -> Int64? {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
    guard let last = text.last, let unit = units[last], let count = Int64(text.dropLast()), count > 0 else {
        return nil
    }
    let (seconds, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow || seconds > 10 * 366 * 86_400 ? nil : seconds
}

extension StartFailure {
    /// Turns any error of `body` into a fault of the command line.
    static func usage<R, E: Error>(_ body: () throws(E) -> R) throws(StartFailure) -> R {
        do { return try body() } catch { throw StartFailure(status: .usage, message: "\(error)") }
    }
}
