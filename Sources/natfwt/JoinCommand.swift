// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Cryptography
import Identity
import Settings

struct JoinCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Behind NAT: take up an invite. Makes this node's key and writes agent.toml.",
        discussion: "The invite is used when the agent first connects; start it before the invite expires.")

    @Argument(help: "The line that \"natfwt invite\" printed on the relay.")
    var invite: String

    @Option(help: "The folder of agent.toml and node.key. Default: /etc/natfwt for root, else ~/.config/natfwt.")
    var directory: String?

    @Flag(help: "Put the invite into an agent.toml that is there. The rest of it stays, and so does the node's key.")
    var force = false

    func run() throws {
        do { try join() } catch let failure as StartFailure { throw fail(failure) }
    }

    private func join() throws {
        let invite = try StartFailure.usage { () throws(InviteError) in try Invite(self.invite) }
        let directory = try StartFailure.configuration {
            try StateDirectory.prepare(self.directory ?? DefaultPlace.configuration)
        }
        let file = "\(directory)/agent.toml"
        guard force || !DefaultPlace.exists(file) else {
            throw StartFailure(
                status: .configuration,
                message: "\(file) is there already: this host has joined a relay; "
                    + "--force puts this invite into it and keeps the rest")
        }
        let key = try StartFailure.configuration { try NodeKey.loadOrCreate("\(directory)/node.key") }
        let text = try text(invite, file)
        try StartFailure.configuration { () throws(SecretFileError) in
            try SecretFile.replace(file, Array(text.utf8))
        }
        try say("Wrote \(file); this node's key is \(key.id).")
        try say(
            "It will be known as \"\(invite.name)\" at \(invite.relays.map(\.description).joined(separator: ", ")).")
        try say("Next: name what to expose in \(file), and start: natfwt agent --config \(file)")
        try say("Or at once: natfwt expose tcp 127.0.0.1:22 --config \(file)")
    }

    /// What is to stand in the file: where there is one already, that with another relay.
    private func text(_ invite: Invite, _ file: String) throws(StartFailure) -> String {
        var settings = AgentSettings()
        settings.relay = invite.relays
        settings.relayKey = invite.relayID.description
        settings.name = invite.name.text
        settings.invite = invite.text
        if !DefaultPlace.isRoot { settings.adminSocket = "\(DefaultPlace.sockets)/agent.sock" }
        guard DefaultPlace.exists(file) else { return settings.render() }
        return try StartFailure.configuration { try settings.rejoining(path: file) }
    }
}
