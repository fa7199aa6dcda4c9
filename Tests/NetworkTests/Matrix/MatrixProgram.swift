// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// A client program of the matrix: what it needs, whom it talks to, and what it is told to do.
///
/// The texts are for `sh -eu`. They find in their environment: HOST and PORT, where the way leads to the server; PROXY,
/// host and port of the proxy where the way is one; FOLDER, a folder that the servers and clients of a way share; and
/// SCRIPTS, the folder of the programs that are the test's own.
struct MatrixProgram: Sendable {
    let name: String
    /// Programs without which it is skipped, in a way that says so; or paths, perhaps with wildcards.
    var needs: [String] = []
    let server: MatrixServer
    let transport: Transport
    let port: Int
    /// Made ready once a way, outside of the way: compiling is not what is tested.
    var prepares = ""
    let client: String
    /// The same through a SOCKS proxy; nil where the program knows none.
    var throughProxy: String?
    /// What it prints when all went well.
    let proof: String
    /// Ways (by their names) that can't carry it, and why. It is tried there too, and must fail.
    var impossible: [String: String] = [:]
}

/// What listens at home, at BIND: loopback, or any address where the way wants that.
struct MatrixServer: Sendable {
    let name: String
    var needs: [String] = []
    /// The ports that it opens at its start.
    var tcp: [Int] = []
    var udp: [Int] = []
    /// Runs before it, to its end.
    var prepares = ""
    /// Starts it in the foreground.
    let script: String
}

extension [String] {
    /// The first of these programs that this machine lacks.
    var firstMissing: String? {
        first { name in
            guard name.contains("/") else { return !Tool.has(name) }
            var found = glob_t()
            defer { globfree(&found) }
            return glob(name, 0, nil, &found) != 0
        }
    }
}
