// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// A real sshd of the test's own, with a key that lets the test in.
final class SecureShell: Sendable {
    private let folder: String
    private let address: String
    private let port: Int
    private let server: Child

    static var isThere: Bool { Tool.has("sshd", "ssh", "ssh-keygen") && getuid() == 0 }

    /// - Parameters:
    ///   - folder: is made for keys and settings, and removed at the end.
    ///   - reached: the address that clients use, where it is another.
    ///   - start: starts sshd, which listens on `address` and `port`.
    init(
        folder: String, at address: String, _ port: Int, reached: String? = nil, start: ([String]) throws -> Child
    ) async throws {
        (self.folder, self.address, self.port) = (folder, reached ?? address, port)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: "/run/sshd", withIntermediateDirectories: true)
        for key in ["host", "user"] {
            let words = [Tool.path("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", "\(folder)/\(key)"]
            try await Child("keygen", words, directory: folder).ended()
        }
        let settings = """
            Port \(port)
            ListenAddress \(address)
            HostKey \(folder)/host
            AuthorizedKeysFile \(folder)/user.pub
            StrictModes no
            PermitRootLogin yes
            PidFile none
            UsePAM no
            """
        try settings.write(toFile: "\(folder)/sshd_config", atomically: true, encoding: .utf8)
        server = try start([Tool.path("sshd"), "-D", "-e", "-f", "\(folder)/sshd_config"])
        try await server.opens(port)
    }

    /// The client, up to the command that it is to run.
    var command: [String] {
        [
            Tool.path("ssh"), "-p", "\(port)", "-i", "\(folder)/user", "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@\(address)",
        ]
    }

    func end() async {
        await server.destroy()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
