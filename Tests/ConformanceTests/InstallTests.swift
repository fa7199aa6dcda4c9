// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension ConformanceTests {
    /// What `deploy/install agent` puts in place, used as the README tells a provider's author to.
    @Suite("Installed", .enabled(if: Tool.has("cc", "pkg-config"))) struct InstallTests {
        struct Compiler: Sendable, CustomTestStringConvertible {
            var command: String
            var source: String
            var testDescription: String { command }

            static let all = [
                Compiler(command: "gcc -std=gnu11", source: "Sources/Examples/udp-provider.c"),
                Compiler(command: "clang -std=gnu11", source: "Sources/Examples/udp-provider.c"),
                Compiler(command: "g++ -std=c++17", source: "Tests/ConformanceTests/Programs/instance.cpp"),
                Compiler(command: "clang++ -std=c++17", source: "Tests/ConformanceTests/Programs/instance.cpp"),
            ]
        }

        @Test func installs() throws {
            let tree = try #require(Installed.tree)
            let files = FileManager.default
            for file in [
                "bin/natfwt", "lib/libcpnatfwt.so.1", "lib/libcpnatfwt.so", "lib/pkgconfig/cpnatfwt.pc",
                "include/cpnatfwt.h", "share/natfwt/agent.toml",
            ] {
                #expect(files.fileExists(atPath: "\(tree)/usr/local/\(file)"), "\(file)")
            }
            #expect(files.fileExists(atPath: "\(tree)/etc/systemd/system/natfwt-agent.service"))
            let library = try files.destinationOfSymbolicLink(atPath: "\(tree)/usr/local/lib/libcpnatfwt.so")
            #expect(library == "libcpnatfwt.so.1")
        }

        @Test("a relay's is all that it needs, and leaves the settings that are there")
        func installsRelay() throws {
            let tree = "\(NSTemporaryDirectory())/natfwt-relay-tree-\(UUID().uuidString)"
            defer { try? FileManager.default.removeItem(atPath: tree) }
            let settings = "\(tree)/etc/natfwt/relay.toml"
            let sample = try String(contentsOfFile: "\(Built.repository)/config/relay.toml", encoding: .utf8)
            try #require(Installed.install("relay", tree))
            let files = try FileManager.default.subpathsOfDirectory(atPath: tree).filter {
                var isFolder: ObjCBool = false
                return FileManager.default.fileExists(atPath: "\(tree)/\($0)", isDirectory: &isFolder)
                    && !isFolder.boolValue
            }
            // The libraries of `natfwt run` come along where they are beside the program.
            #expect(
                Set(files.filter { !$0.hasPrefix("usr/local/lib/natfwt/") }) == [
                    "usr/local/bin/natfwt", "etc/systemd/system/natfwt-relay.service",
                    "usr/local/share/natfwt/relay.toml", "etc/natfwt/relay.toml", "usr/lib/sysusers.d/natfwt.conf",
                ])
            #expect(try String(contentsOfFile: settings, encoding: .utf8) == sample)
            #expect(Built.run("\(tree)/usr/local/bin/natfwt", "relay", "--help"))
            try "# mine\n".write(toFile: settings, atomically: true, encoding: .utf8)
            try #require(Installed.install("relay", tree))
            #expect(try String(contentsOfFile: settings, encoding: .utf8) == "# mine\n")
            #expect(!Installed.install("relays", tree) && !Installed.install("", tree))
        }

        @Test("a provider compiles against it, and registers", arguments: Compiler.all)
        func compilesAndRuns(_ compiler: Compiler) async throws {
            let name = String(compiler.command.prefix { $0 != " " })
            guard let path = Built.compiler(name) else { return }
            let (tree, site) = (try #require(Installed.tree), try await Site("installed"))
            let command = path + compiler.command.dropFirst(name.count)
            let built = Built.run(
                "/bin/sh", "-c",
                """
                export PKG_CONFIG_SYSROOT_DIR=\(tree) PKG_CONFIG_PATH=\(tree)/usr/local/lib/pkgconfig
                exec \(command) -Wall -Wextra -Werror \(Built.repository)/\(compiler.source) -pthread \\
                    $(pkg-config --cflags --libs cpnatfwt) -o \(site.folder)/provider
                """)
            try #require(built)
            try "".write(toFile: "\(site.folder)/peers", atomically: true, encoding: .utf8)
            let provider = try Child(
                "provider", ["\(site.folder)/provider", "\(freePort())", "\(site.folder)/peers"],
                environment: [
                    "CPNATFWT_SOCKET": "\(site.folder)/providers.sock", "LD_LIBRARY_PATH": "\(tree)/usr/local/lib",
                ], directory: site.folder)
            try await until("it registers\(provider.tail())\(site.agent.tail())") {
                site.agent.log.contains("provider=\(NSUserName())/provider")
            }
            if compiler.source.hasSuffix(".c") {
                try await until("it is active") { try await site.natfwt("providers").contains("): active") }
                provider.signal(SIGTERM)
            }
            #expect(try await provider.ended() == 0, "\(provider.log)")
            await site.end()
        }
    }
}

/// Trees that `deploy/install` has filled.
private enum Installed {
    /// An agent's, made once for all tests.
    static let tree: String? = {
        guard let folder = Built.folder else { return nil }
        let tree = "\(folder)/installed"
        return install("agent", tree) ? tree : nil
    }()

    /// Whether a role's files could be put into a tree.
    static func install(_ role: String, _ tree: String) -> Bool {
        Built.run(
            "/usr/bin/env", "DESTDIR=\(tree)", "BINARY=\(Natfwt.binary)", "\(Built.repository)/deploy/install", role)
    }
}
