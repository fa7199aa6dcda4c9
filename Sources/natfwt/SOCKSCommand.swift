// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import Glibc
import Settings

struct SOCKSCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "socks",
        abstract: "On a node: a SOCKS5 and HTTP proxy that leads to the other nodes, and out through the relay.",
        discussion: """
            The running agent listens until Ctrl-C. For good: [socks] in its settings.
            Without an address on both loopback addresses, for every user of this host; "*" stands for every address.
            """)

    @Argument(help: ArgumentHelp("Where to listen, as [BIND:]PORT.", valueName: "[bind:]port")) var listen: String
    @Option(help: "The user name that programs must give.") var user: String?
    @Option(
        name: .customLong("password-file"),
        help: ArgumentHelp("The file whose first line is the password; \"-\" for standard input.", valueName: "file"))
    var passwordFile: String?
    @OptionGroup var agent: AgentSocket

    func run() throws {
        do {
            guard let addresses = ListenText.parse(listen) else {
                throw StartFailure(status: .usage, message: "\(listen): expected \(ListenText.expected)")
            }
            let listener = SOCKSListener(listen: addresses, credentials: try credentials())
            if listener.isOpenToOthers {
                complain("warning: who reaches \(listen) may use this node's tunnels: set --user and --password-file")
            }
            let places = addresses.map(\.description).joined(separator: " and ")
            try AgentRequest.socks(listener).run(
                agent, started: "listening on \(places) for SOCKS5 and HTTP CONNECT; Ctrl-C ends it", lasts: true)
        } catch let failure as StartFailure { throw fail(failure) }
    }

    private func credentials() throws(StartFailure) -> SOCKSCredentials? {
        guard user != nil || passwordFile != nil else { return nil }
        guard let user, let passwordFile else {
            throw StartFailure(status: .usage, message: "--user and --password-file go together")
        }
        guard let credentials = SOCKSCredentials(user: user, password: try SecretLine.read(passwordFile)) else {
            throw StartFailure(
                status: .usage,
                message: "expected \(SOCKSCredentials.expectedUser), and \(SOCKSCredentials.expectedPassword)")
        }
        return credentials
    }
}

/// A secret that is handed over in a file, so that it stands in no list of processes.
private enum SecretLine {
    private static let longest = 4_096

    /// The first line of the file.
    static func read(_ path: String) throws(StartFailure) -> String {
        let descriptor = path == "-" ? dup(STDIN_FILENO) : unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path, errno) }
        defer { close(descriptor) }
        warnOfReaders(descriptor, path)
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while bytes.count < longest {
            let count = unsafe Glibc.read(descriptor, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(path, errno) }
            if count == 0 || byte == UInt8(ascii: "\n") { break }
            bytes.append(byte)
        }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw StartFailure(status: .configuration, message: "\(path): expected UTF-8 text")
        }
        return text
    }

    private static func warnOfReaders(_ descriptor: Int32, _ path: String) {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & S_IROTH != 0
        else { return }
        complain("warning: \(path): every user of this host may read it: chmod 600 \(path)")
    }

    private static func failure(_ path: String, _ code: Int32) -> StartFailure {
        StartFailure(
            status: .configuration, message: "\(path) can't be read: \(unsafe String(cString: strerror(code)))")
    }
}
