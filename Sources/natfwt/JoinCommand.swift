// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Glibc
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

    @Flag(help: "Replace an agent.toml that is there. The node's key is kept.")
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
                message: "\(file) is there already: this host has joined a relay; --force replaces it")
        }
        let key = try StartFailure.configuration { try NodeKey.loadOrCreate("\(directory)/node.key") }
        try write(text(invite, directory), to: file)
        try say("Wrote \(file); this node's key is \(key.id).")
        try say(
            "It will be known as \"\(invite.name)\" at \(invite.relays.map(\.description).joined(separator: ", ")).")
        try say("Next: name what to expose in \(file), and start: natfwt agent --config \(file)")
        try say("Or at once: natfwt expose tcp 127.0.0.1:22 --config \(file)")
    }

    private func text(_ invite: Invite, _ directory: String) -> String {
        var settings = AgentSettings()
        settings.relay = invite.relays
        settings.relayKey = invite.relayID.description
        settings.name = invite.name.text
        settings.invite = invite.text
        if !DefaultPlace.isRoot { settings.adminSocket = "\(DefaultPlace.sockets)/agent.sock" }
        return settings.render()
    }

    /// Writes the file whole or not at all; only its owner may read it, for the invite in it is a secret.
    private func write(_ text: String, to path: String) throws(StartFailure) {
        let temporary = "\(path).new"
        unsafe unlink(temporary)
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        let bytes = Array(text.utf8)
        let count = descriptor < 0 ? -1 : unsafe Glibc.write(descriptor, bytes, bytes.count)
        let isWritten = count == bytes.count && fsync(descriptor) == 0
        let code = errno
        if descriptor >= 0 { close(descriptor) }
        guard isWritten, unsafe rename(temporary, path) == 0 else {
            unsafe unlink(temporary)
            throw StartFailure(
                status: .configuration, message: "\(path) can't be written: \(unsafe String(cString: strerror(code)))")
        }
    }
}
